"""What a folder or file is taken for, and what is decided by rule."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdl.data import load
from jaxdl.data.recognition import recognize


def draw(path, size=(12, 10), colour=(200, 30, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def table(tmp_path):
    def write(header, *rows, name="t.csv"):
        (tmp_path / name).write_text("\n".join([header, *rows]) + "\n")
        return str(tmp_path / name)

    return write


def pets(folder, size=(12, 10), colour=(200, 30, 30)):
    for kind in ("cat", "dog"):
        for i in range(20):
            draw(folder / kind / f"{i}.png", size, colour)
    return str(folder)


def test_small_images_are_kept_and_large_ones_decoded(tmp_path):
    small = recognize(pets(tmp_path / "small"))
    assert small.source == "images" and small.settings["size"] == (10, 12)
    assert "2 classes: cat 20, dog 20" in small.notes[0]
    large = recognize(pets(tmp_path / "large", (200, 90), (90, 90, 90)))
    assert large.settings["crop"]["size"] == 96 and large.settings["channels"] == 1
    assert "90×200 pixels, grey" in large.notes[1]


def labelled(folder, where, rows):
    """Images in a folder, and a table of their classes."""
    for i in range(rows):
        draw(folder / where / f"{i}.png")
    return "".join(f"{i},{'xy'[i % 2]}\n" for i in range(rows))


def test_images_with_a_table_of_their_classes(tmp_path, refuses):
    rows = labelled(tmp_path, "train", 30)
    labelled(tmp_path, "test", 4)
    (tmp_path / "train.csv").write_text(f"id,kind\n{rows}")
    (tmp_path / "test.csv").write_text("id\n0\n1\n")
    (tmp_path / "sample_submission.csv").write_text("id,kind\n0,x\n1,x\n")
    found = recognize(str(tmp_path))
    assert found.source == "images" and found.splits["train"].classes == ("x", "y")
    assert (found.settings["labels"], found.settings["label"]) == ("train.csv", "kind")
    assert sum(map(len, found.splits.values())) == 30 and len(found.splits) == 2
    assert found.to_predict == (str(tmp_path / "test"),)
    assert "does not read sample_submission.csv, test.csv" in found.notes
    (tmp_path / "train.csv").write_text("id,size\n" + "".join(f"{i},{i}.5\n" for i in range(30)))
    with refuses("column 'size' holds numbers, not classes", "--target names another"):
        recognize(str(tmp_path))
    with refuses("has no column 'kind'"):
        recognize(str(tmp_path), "kind")


@pytest.mark.parametrize(
    ("header", "row", "told"),
    [
        ("id,cat,dog", "{i},{a},{a}", "columns cat, dog are 0 or 1, and several or none are 1"),
        ("id,kind", "x{i},{a}", "labels.csv has no column with the names of the images"),
        ("id,kind", "{i},same", "column 'kind' has only one value"),
        ("id", "{i}", "no column of classes among id"),
    ],
)
def test_a_table_that_does_not_tell_the_classes_is_one_line(tmp_path, refuses, header, row, told):
    labelled(tmp_path, "train", 12)
    rows = [row.format(i=i, a=i % 2, b=1 - i % 2) for i in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    with refuses(told):
        recognize(str(tmp_path))


def test_a_column_for_each_class(tmp_path):
    labelled(tmp_path, "train", 30)
    rows = [f"{i}," + ",".join(str(float(i % 3 == j)) for j in range(3)) for i in range(30)]
    (tmp_path / "train.csv").write_text("\n".join(["image,MEL,NV,BCC", *rows]) + "\n")
    found = recognize(str(tmp_path))
    assert found.settings["label"] == ("MEL", "NV", "BCC")
    assert found.splits["train"].classes == ("BCC", "MEL", "NV")
    assert "reads the classes in MEL, NV, BCC of train.csv" in found.notes[-1]


def test_a_table_beside_folders_of_classes_is_no_table_of_classes(tmp_path):
    for kind in ("cat_images", "dog_images"):
        for i in range(12):
            draw(tmp_path / kind / f"{i}.png")
    (tmp_path / "notes.csv").write_text("who,when\nme,today\n")
    found = recognize(str(tmp_path))
    assert found.splits["train"].classes == ("cat_images", "dog_images")
    assert found.notes[-1] == "does not read notes.csv: the folders are the classes"


def test_boxes_in_a_table_without_header_beside_its_images(tmp_path):
    labelled(tmp_path, ".", 12)
    rows = "".join(f"{i}.png,1,1,9,9,ball\n" for i in range(12))
    (tmp_path / "annotations.csv").write_text(rows)
    assert recognize(str(tmp_path)).source == "csv_boxes"


def test_target_names_the_column_of_the_classes_of_images(tmp_path, refuses):
    labelled(tmp_path / "some", ".", 20)
    rows = "".join(f"{i},{i % 2},{'xyz'[i % 3]}\n" for i in range(20))
    (tmp_path / "some" / "t.csv").write_text(f"id,label,kind\n{rows}")
    assert recognize(str(tmp_path / "some")).splits["train"].classes == ("0", "1")
    found = recognize(str(tmp_path / "some"), "kind")
    assert (
        found.splits["train"].classes == ("x", "y", "z") and "as --target says" in found.notes[-1]
    )
    with refuses("is not a table; leave --target"):
        recognize(pets(tmp_path / "pets"), "kind")


def test_the_only_folder_of_images_by_class_among_other_files(tmp_path):
    pets(tmp_path / "images")  # as in CUB-200
    (tmp_path / "classes.txt").write_text("1 cat\n2 dog\n")
    (tmp_path / "train_test_split.txt").write_text("1 1\n2 0\n")
    (tmp_path / "attributes").mkdir()
    found = recognize(str(tmp_path))
    assert (found.source, found.settings["path"]) == ("images", str(tmp_path / "images"))
    assert found.notes[-1] == "does not read what is beside images"


@pytest.mark.parametrize("name", ["captions.txt", "results.csv", "annotations/captions_val.json"])
def test_captions(tmp_path, name):
    (tmp_path / "annotations").mkdir()
    draw(tmp_path / "images" / "0.png")
    contents = {
        "captions.txt": "image,caption\n0.png,a dog\n",
        "results.csv": "image_name| comment_number| comment\n0.png| 0| a dog\n",
        "annotations/captions_val.json": '{"images": [{"id": 0, "file_name": "0.png"}], '
        '"annotations": [{"image_id": 0, "caption": "a dog"}]}',
    }
    (tmp_path / name).write_text(contents[name])
    found = recognize(str(tmp_path))
    assert found.source == "captions" and {*found.splits} == {"train"}
    assert found.settings["path"] == str(tmp_path / name)
    assert found.settings["images"] == str(tmp_path / "images")
    assert "such as 'a dog'" in found.notes[0]


def test_captions_as_hugging_face_has_them_and_their_file_alone(tmp_path, refuses):
    draw(tmp_path / "0.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\n0.png,a dog\n")
    assert recognize(str(tmp_path)).source == "captions"
    (tmp_path / "captions.txt").write_text("image,caption\n0.png,a dog\n")
    with refuses("has captions; name the folder that has it and the images"):
        recognize(str(tmp_path / "captions.txt"))


def test_some_images_of_many_with_captions_are_held_out(tmp_path):
    for i in range(20):
        draw(tmp_path / "photos" / "large" / f"{i}.png")
    rows = [f'large/{i}.png,"a dog, {"ab"[j]}"' for i in range(20) for j in range(2)]
    (tmp_path / "list.csv").write_text("\n".join(["image,caption", *rows]) + "\n")
    found = recognize(str(tmp_path))
    assert found.notes[0].startswith("captions: 36 train, 2 validation, 2 test")
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("large/0.png\n")
    assert recognize(str(tmp_path)).notes[-1] == "does not read Flickr_8k.trainImages.txt"
    assert found.settings["images"] == str(tmp_path / "photos")


def test_annotations_of_tools_in_their_own_formats_are_told(tmp_path, refuses):
    for i in range(4):
        draw(tmp_path / f"{i}.png")
    shape = '{"shapes": [{"label": "cat", "points": [[1, 2], [3, 4]]}], "imagePath": "0.png"}'
    (tmp_path / "labels.csv").write_text("file,kind\n0,a\n1,b\n2,a\n3,b\n")
    (tmp_path / "0.json").write_text(shape)
    assert recognize(str(tmp_path)).source == "images"  # which can be read all the same
    (tmp_path / "labels.csv").unlink()
    formats = {
        "0.json": (shape, "labelme"),
        "via.json": ('{"_via_img_metadata": {}}', "VIA"),
        "notes.xml": ('<annotations><image id="0" name="0.png"/></annotations>', "CVAT"),
        "via.csv": ("filename,region_shape_attributes\n0.png,{}\n", "VIA"),
    }
    for name, (content, tool) in formats.items():
        (tmp_path / name).write_text(content)
        with refuses(f"{name!r} has annotations in {tool}'s own format", "as COCO, YOLO"):
            recognize(str(tmp_path))
        (tmp_path / name).unlink()


def test_coco_with_paths_of_another_machine(tmp_path):
    for i in range(3):
        draw(tmp_path / "images" / f"{i}.png", (20, 20))
    boxes = [{"id": i, "image_id": i, "category_id": 0, "bbox": [1, 1, 9, 9]} for i in range(3)]
    for form in ("images\\{}.png", "/home/me/x/images/{}.png", "./{}.png"):
        images = [{"id": i, "file_name": form.format(i)} for i in range(3)]
        document = {"images": images, "annotations": boxes, "categories": [{"id": 0, "name": "a"}]}
        (tmp_path / "coco.json").write_text(json.dumps(document))
        assert len(recognize(str(tmp_path)).splits["train"]) == 3


def test_tunes(tmp_path):
    tune = "X:1\nM:4/4\nL:1/8\nK:G\nGABc | {} |\n\n"
    (tmp_path / "a.abc").write_text(
        "".join(tune.format("GABc"[i % 4] * (i + 1)) for i in range(20))
    )
    for path in (tmp_path, tmp_path / "a.abc"):
        found = recognize(str(path))
        assert (
            found.source == "tunes"
            and found.notes[0] == "tunes: 19 train, 1 validation, in ABC notation"
        )
    (tmp_path / "a.abc").write_text(tune.format("A") + tune.format("B"))
    assert {*recognize(str(tmp_path)).splits} == {"train"}


def test_images_and_their_table_side_by_side_or_a_table_for_each_split(tmp_path, refuses):
    rows = labelled(tmp_path / "flat", ".", 12)
    (tmp_path / "flat" / "labels.csv").write_text(f"id,kind\n{rows}")
    assert recognize(str(tmp_path / "flat")).settings["labels"] == "labels.csv"
    (tmp_path / "flat" / "more.csv").write_text(f"id,kind\n{rows}")
    with refuses("labels.csv, more.csv name its images; call the one with their classes train.csv"):
        recognize(str(tmp_path / "flat"))
    for split in ("train", "val"):
        rows = labelled(tmp_path / "two", f"{split}_images", 12)
        (tmp_path / "two" / f"{split}_labels.csv").write_text(f"id,kind\n{rows}")
    found = recognize(str(tmp_path / "two"))
    assert found.settings["labels"] == {"train": "train_labels.csv", "validation": "val_labels.csv"}
    assert {role: len(table) for role, table in found.splits.items()} == {
        "train": 12, "validation": 12,
    }  # fmt: skip


def test_a_folder_of_images_without_classes_is_left_to_be_predicted(tmp_path):
    pets(tmp_path / "train")
    draw(tmp_path / "test" / "0.png")
    found = recognize(str(tmp_path))
    assert {*found.splits} == {"train", "test"} and found.settings["test_fraction"] == 0.2
    assert found.to_predict == (str(tmp_path / "test"),)


def boxes(folder, split, kinds=("red",), name=None):
    """A COCO file of four images, in Roboflow's layout or as named."""
    images, objects = [], []
    for i in range(4):
        draw(folder / split / f"{i}.png", (80, 40))
        images.append({"id": i, "file_name": f"{i}.png", "height": 40, "width": 80})
        objects.append({"id": i, "image_id": i, "category_id": 0, "bbox": [4, 4, 20, 20]})
    listed = [{"id": i, "name": kind} for i, kind in enumerate(kinds)]
    document = {"images": images, "annotations": objects, "categories": listed}
    file = folder / (name or f"{split}/_annotations.coco.json")
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document))


def test_coco_in_its_own_layout_and_in_roboflows(tmp_path):
    boxes(tmp_path / "own", "train2017", name="annotations/instances_train2017.json")
    boxes(tmp_path / "own", "val2017", name="annotations/instances_val2017.json")
    (tmp_path / "own" / "annotations" / "captions_val2017.json").write_text("{}")
    own = recognize(str(tmp_path / "own"))
    assert own.settings["train"] == ("annotations/instances_train2017.json", "train2017")
    assert own.settings["validation"] == ("annotations/instances_val2017.json", "val2017")
    assert own.settings["test"] is None and own.settings["size"] == (64, 96)
    assert "each image has one object; the task localization" in own.notes[-1]
    for split in ("train", "valid", "test"):
        boxes(tmp_path / "roboflow", split)
    other = recognize(str(tmp_path / "roboflow"))
    assert other.settings["validation"] == ("valid/_annotations.coco.json", "valid")
    assert {role: len(t) for role, t in other.splits.items()} == {
        "train": 4, "validation": 4, "test": 4,
    }  # fmt: skip


def test_a_single_coco_file_trains(tmp_path):
    boxes(tmp_path, "images", name="result.json")
    found = recognize(str(tmp_path))
    assert set(found.splits) == {"train"} and found.settings["validation"] is None


def test_other_json_beside_classes_is_no_coco(tmp_path):
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "about.json").write_text('{"images": 3}')
    assert recognize(pets(tmp_path / "pets")).source == "images"


def test_voc_and_yolo(tmp_path):
    voc, yolo = tmp_path / "voc", tmp_path / "yolo"
    corners = "<xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax>"
    for i in range(12):
        draw(voc / "JPEGImages" / f"{i}.jpg", (40, 40))
        file = voc / "Annotations" / f"{i}.xml"
        file.parent.mkdir(exist_ok=True)
        thing = f"<object><name>dog</name><bndbox>{corners}</bndbox></object>"
        file.write_text(f"<annotation><filename>{i}.jpg</filename>{thing}</annotation>")
        draw(yolo / "images" / ("val" if i > 8 else "train") / f"{i}.png", (40, 40))
    found = recognize(str(voc))
    assert found.source == "voc" and found.splits["train"].classes == ("dog",)
    for name in ("train", "val"):
        (yolo / "labels" / name).mkdir(parents=True)
    (yolo / "labels" / "train" / "0.txt").write_text("0 .5 .5 .2 .2")
    (yolo / "classes.txt").write_text("dog\n")
    assert recognize(str(yolo)).source == "yolo"
    lists = voc / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("0\n1\n2\n")
    assert recognize(str(voc)).settings["train"] == "trainval"


NUMBERS = [f"{i},{i % 7},{i % 3},{i * 1.5}" for i in range(30)]


def test_the_target_is_the_last_column_or_one_of_a_usual_name_or_as_told(table):
    assert recognize(table("a,b,c,d", *NUMBERS)).settings["target"] == "d"
    assert recognize(table("a,b,label,d", *NUMBERS)).settings["label"] == "label"
    assert recognize(table("a,b,c,d", *NUMBERS), "b").settings["label"] == "b"
    assert recognize(table("a,b,c,d", *NUMBERS), "a").settings["target"] == "a"
    assert recognize(table("a,b,c,d", *NUMBERS), "b", "number").settings["target"] == "b"


def test_what_is_no_number_is_left_out_and_told(table):
    rows = [f"{i},{'ab'[i % 2]},{'' if i == 3 else i},{i / 7},{'xyz'[i % 3]}" for i in range(30)]
    found = recognize(table("id;city;gaps;size;kind", *(r.replace(",", ";") for r in rows)))
    assert found.settings["features"] == ("size",) and found.settings["delimiter"] == ";"
    assert found.settings["label"] == "kind" and found.splits["train"].classes == ("x", "y", "z")
    assert (
        "id (numbers the rows), city (not numbers: 'a'), gaps (1 gaps, which impute='median' fills)"
        in found.notes[2]
    )


def test_notes_above_a_table_do_not_say_how_it_is_divided(table, tmp_path):
    rows = [row.replace(",", ";") for row in NUMBERS]
    found = recognize(table("# a, b, and c\n# by me, in May, 3 times\n\na;b;c;d", *rows))
    assert found.settings["delimiter"] == ";" and found.settings["target"] == "d"
    assert "target" in recognize(table("#;b;c;d", *rows)).settings
    content = (tmp_path / "t.csv").read_text().replace(";", "\t")
    (tmp_path / "u.csv").write_text(content, "utf-16")
    found = recognize(str(tmp_path / "u.csv"))
    assert found.settings["delimiter"] == "\t" and "encoding" not in found.settings


def test_quoted_decimal_commas_between_commas(table, refuses):
    rows = [f'"{i * i % 7},5","{i % 3},25","{2 * i},75"' for i in range(20)]
    found = recognize(table("a,b,price", *rows))
    assert found.settings["decimal"] == ","
    thousands = [f'"{i + 1},250","{i % 3}","{2 * i + 1},750"' for i in range(20)]
    with refuses("column 'price' looks like numbers"):
        recognize(table("a,b,price", *thousands))
    named = [f'"Smith, J{i}",{i % 3},"{2 * i + 1},100"' for i in range(20)]
    with refuses("column 'price' looks like numbers"):
        recognize(table("name,b,price", *named))


def test_a_class_may_be_called_as_a_gap_is(table):
    rows = [f"{i * i % 7},{'+' if i % 2 else '--'}" for i in range(30)]
    assert recognize(table("a,charge", *rows)).splits["train"].classes == ("+", "--")


def test_flags_of_one_class_do_not_predict_one_another(table, refuses):
    flags = ("1,0,0", "0,1,0", "0,0,1")
    rows = [f"{i * i % 7},{i % 2},{flags[i % 3]}" for i in range(30)]
    with refuses("columns cat, dog, cow tell one class", "idxmax"):
        recognize(table("a,wet,cat,dog,cow", *rows))
    assert recognize(table("a,wet,cat,dog,cow", *rows), "wet").settings["label"] == "wet"


def test_decimal_commas_are_read_and_dressed_numbers_are_no_classes(table, refuses):
    rows = [f"{i},5;{i % 4};1{i}1,5" for i in range(30)]
    found = recognize(table("area;rooms;price", *rows))
    assert (found.settings["decimal"], found.settings["target"]) == (",", "price")
    assert found.splits["train"].columns["target"].max() > 1000
    assert "features" not in found.settings
    for price in ("$1{}.5", "{},000 €", "{} %"):
        with refuses("column 'price' looks like numbers", "or add --kind class"):
            recognize(table("rooms;price", *(f"{i};{price.format(i)}" for i in range(1, 30))))


def test_of_usual_names_the_likeliest_is_predicted(table):
    assert recognize(table("x,y,label,d", *NUMBERS)).settings["label"] == "label"
    rows = [f"{i},{i % 3},{i}" for i in range(30)]
    assert recognize(table("a,kind,__index_level_0__", *rows)).settings["label"] == "kind"
    signs = [f"{i},{(-1) ** i}" for i in range(30)]
    assert recognize(table("a,sign", *signs)).splits["train"].classes == ("-1", "1")


def test_a_note_beside_images_is_no_text_to_learn(tmp_path):
    pets(tmp_path)
    (tmp_path / "README.txt").write_text("Two kinds of animals.")
    found = recognize(str(tmp_path))
    assert found.source == "images" and "leaves out the texts in it: README.txt" in found.notes


def test_a_column_that_says_whose_a_row_is_keeps_them_together(table):
    rows = [f"{i % 12},{i / 7},{i % 3}" for i in range(60)]
    found = recognize(table("Patient ID,size,kind", *rows))
    assert found.settings["group"] == "Patient ID" and "features" not in found.settings
    assert [feature.name for feature in found.splits["train"].features] == ["size"]
    assert "keeps the rows of one 'Patient ID' in one split" in found.notes[2]
    # One row each, or too few to divide, or a name that says nothing of the kind.
    for header, count in (("patient", 60), ("session", 3), ("patience", 12)):
        rows = [f"{i % count},{i / 7},{i % 3}" for i in range(60)]
        assert "group" not in recognize(table(f"{header},size,kind", *rows)).settings


def test_columns_of_text(table):
    rows = [f'"a film that is {"good" if i % 2 else "bad"}",{i % 2}' for i in range(30)]
    found = recognize(table("review,stars", *rows))
    assert found.settings["text"] == ("review",) and found.settings["label"] == "stars"
    alone = recognize(table("review", *(row.rpartition(",")[0] for row in rows)))
    assert alone.settings["text"] == ("review",) and "label" not in alone.settings


def test_json_lines(tmp_path):
    said = [{"text": f"this film is {'abc'[i % 2]} {i}", "label": i % 2} for i in range(30)]
    numbers = [{"id": i, "tags": ["a"], "size": i / 7, "price": i * 1.5} for i in range(30)]
    found = []
    for name, records in (("said.jsonl", said), ("numbers.jsonl", numbers)):
        (tmp_path / name).write_text("\n".join(map(json.dumps, records)))
        found.append(recognize(str(tmp_path / name)).settings)
    assert (found[0]["text"], found[0]["label"]) == (("text",), "label")
    assert (found[1]["features"], found[1]["target"]) == (("size",), "price")


def test_a_list_in_json_is_a_table_and_annotations_are_none(tmp_path, refuses):
    numbers = [{"id": i, "size": i / 7, "price": i * 1.5} for i in range(30)]
    forms = (json.dumps(numbers, indent=1), "\n".join(map(json.dumps, numbers)))
    for text in forms:
        (tmp_path / "t.json").write_text(text)
        assert recognize(str(tmp_path / "t.json")).settings["target"] == "price"
    (tmp_path / "t.json").write_text(json.dumps([{"id": 1, "data": {"image": "a.png"}}] * 3))
    with refuses("no column to predict among id, data", "lists and objects"):
        recognize(str(tmp_path / "t.json"))
    (tmp_path / "t.json").write_text(json.dumps({"images": [], "annotations": []}))
    with refuses("is no list of rows"):
        recognize(str(tmp_path / "t.json"))


def test_a_table_of_ids_alone_is_one_line(table, refuses):
    with refuses("no column to predict among id", "number the rows"):
        recognize(table("id", "1", "2", "3"))


def test_a_folder_with_a_table_alone_is_the_table(table, tmp_path):
    table("a,b,c,d", *NUMBERS)
    found = recognize(str(tmp_path))
    assert found.source == "csv" and found.settings["path"].endswith("t.csv")


def test_tables_that_are_called_as_splits_are_those(table, tmp_path, refuses):
    rows = [f"{i},{i % 3},{'xyz'[i % 3]}" for i in range(1, 30)]
    for name in ("my-train.csv", "my-valid.csv", "my-test.csv"):
        table("a,b,kind", *rows, name=name)
    found = recognize(str(tmp_path))
    assert [*found.splits] == ["train", "validation", "test"] and found.to_predict == ()
    assert found.settings["path"] == str(tmp_path / "my-train.csv")
    assert "test_fraction" not in found.settings and found.settings["label"] == "kind"
    table("a,b,kind", *rows, name="other-train.csv")
    with refuses("are both the train split"):
        recognize(str(tmp_path))


def test_a_test_table_without_the_target_tells_it_and_is_left_to_be_predicted(table, tmp_path):
    rows = [(i, i % 2, i * 0.7 % 3, "ab"[i // 7 % 2]) for i in range(1, 40)]
    table(
        "Id,Survived,Fare,Port", *("{},{},{:.2f},{}".format(*row) for row in rows), name="train.csv"
    )
    table("Id,Fare,Port", *(f"{i},{fare:.2f},{port}" for i, _, fare, port in rows), name="test.csv")
    table("Id,Survived", *(f"{i},0" for i, *_ in rows), name="sample_submission.csv")
    found = recognize(str(tmp_path))
    assert (found.settings["label"], found.settings["features"]) == ("Survived", ("Fare",))
    assert {role: len(t) for role, t in found.splits.items()} == {"train": 31, "test": 8}
    assert found.to_predict == (str(tmp_path / "test.csv"),)
    told = "\n".join(found.notes)
    assert "as test.csv lacks it" in told and "does not read sample_submission.csv" in told
    assert "test.csv has no 'Survived', so it is left to be predicted" in told


def test_columns_that_a_split_lacks_are_left_out(table, tmp_path, refuses):
    table("a,b,y", *(f"{i},{i * i % 7},{i * 1.5}" for i in range(30)), name="train.csv")
    table("b,y", *(f"{i},{i * 1.5}" for i in range(9)), name="test.csv")
    found = recognize(str(tmp_path), "y")
    assert found.settings["features"] == ("b",) and len(found.splits["test"]) == 9
    assert any("a (not in test.csv)" in note for note in found.notes)
    table("c", *map(str, range(9)), name="test.csv")
    with refuses("no column of numbers", "'a': not in test.csv"):
        recognize(str(tmp_path))


def test_texts_hold_out_their_end_unless_it_has_characters_of_its_own(tmp_path):
    (tmp_path / "book.txt").write_text("once upon a time " * 100)
    found = recognize(str(tmp_path))
    assert found.source == "text" and set(found.splits) == {"train", "validation"}
    (tmp_path / "book.txt").write_text("once upon a time " * 100 + "é")
    found = recognize(str(tmp_path / "*.txt"))
    assert set(found.splits) == {"train"} and "nothing is held out" in found.notes[1]


def wrong(folder):
    """What is refused -> the words to say so."""
    folder.joinpath("empty").mkdir()
    draw(folder / "loose" / "0.png")
    for i in range(20):
        draw(folder / "one" / "cat" / f"{i}.png")
    pets(folder / "pets")
    files = {
        "numbers.csv": "1,2\n3,4\n",
        "one.csv": "a,b\n1,x\n2,x\n",
        "names.csv": "a,who\n1,x\n2,y\n3,z\n4,w\n5,v\n",
        "cities.csv": "city,label\nrome,0\nbern,1\nrome,1\n",
        "void.txt": "",
        "zero.bin": "a\0b",
        "some.json": "{}",
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    for name in ("packed.csv.gz", "book.xlsx"):
        (folder / name).write_bytes(b"\x1f\x8b\0")
    (folder / "tabs.txt").write_text("a\tb\n1\t2\n3\t4\n")
    (folder / "two").mkdir()
    for name in "ab":
        (folder / "two" / f"{name}.csv").write_text("x,y\n1,2\n")
    return [
        ("nowhere", None, "no such file or folder"),
        ("empty", None, "has no folders"),
        ("loose", None, "is not in the folder of a class"),
        ("one", None, "has one class, 'cat'"),
        ("pets", "kind", "is not a table; leave --target"),
        ("numbers.csv", None, "its first line must be a header"),
        ("one.csv", None, "column 'b' has only one value"),
        ("one.csv", "c", "has no column 'c'"),
        ("names.csv", None, "5 different values in 5 rows"),
        ("cities.csv", None, "no column of numbers to predict 'label' from"),
        ("void.txt", None, "has only blanks"),
        ("zero.bin", None, "is not text"),
        ("some.json", None, "name the folder"),
        ("packed.csv.gz", None, "is packed; unpack it"),
        ("book.xlsx", None, "is a spreadsheet; save it as CSV"),
        ("tabs.txt", None, "if it is a table"),
        ("two", None, "has 2 tables, a.csv, b.csv; name the one to learn from"),
        ("*.none", None, "no file matches"),
    ]


def test_what_cannot_be_read_is_one_line(tmp_path, refuses):
    for name, target, told in wrong(tmp_path):
        with refuses(told):
            recognize(str(tmp_path / name), target)


def test_the_home_of_nobody_is_one_line(refuses):
    with refuses("~nobody-here/x: there is no home folder ~nobody-here"):
        recognize("~nobody-here/x")
    with refuses("~nobody-here/x: there is no home folder ~nobody-here"):
        load("images", path="~nobody-here/x", size=4)


def test_a_coco_file_whose_images_are_gone(tmp_path, refuses):
    boxes(tmp_path, "train")
    (tmp_path / "train" / "0.png").unlink()
    with refuses("its first image, '0.png', is in none of"):
        recognize(str(tmp_path))
    boxes(tmp_path, "train")
    boxes(tmp_path, "train", name="a_train.json")
    with refuses("are both the train split"):
        recognize(str(tmp_path))


def test_sizes_are_the_median_of_what_is_there(tmp_path):
    for i, side in enumerate((10, 20, 30)):
        for kind in ("a", "b"):
            for j in range(8):
                draw(tmp_path / kind / f"{i}-{j}.png", (side, side))
    assert np.isclose(recognize(str(tmp_path)).settings["size"], 20, atol=10)


def test_arrays_by_keras_names_and_by_ours(tmp_path, refuses, caplog):
    label = np.arange(40) % 10
    grey, colour = np.zeros((40, 28, 28), np.uint8), np.zeros((40, 3, 32, 32), np.uint8)
    mnist, cifar = str(tmp_path / "mnist.npz"), str(tmp_path / "cifar.npz")
    np.savez(mnist, x_train=grey, y_train=label, x_test=grey[:20], y_test=label[:20])
    np.savez(cifar, image=colour, label=label[:, None])
    found = recognize(mnist)
    assert (found.source, found.settings) == ("arrays", {"train": mnist, "grey": ("image",)})
    assert found.notes == ("arrays: 40 train, 20 test, image uint8 28×28×1, label int64",)
    found = recognize(cifar)
    assert found.settings["channels_first"] == ("image",) and len(found.splits["test"]) == 8
    assert found.splits["train"].columns["image"].shape == (32, 32, 32, 3)
    assert not caplog.messages
    np.savez(mnist, a=grey, b=label)
    with refuses("has the arrays a, b; call the inputs image or features"):
        recognize(mnist)
    np.savez(mnist, X=np.ones((40, 3)), y=label)
    found = recognize(mnist)
    assert found.settings["rename"] == {"X": "features", "y": "label"}
    assert found.notes[1:] == ("reads X as features", "reads y as label, a class to predict")
    np.savez(mnist, X=np.full((40, 3), np.nan), y=label)
    with refuses("column 'features'", "not finite"):
        recognize(mnist)


def test_images_with_masks_are_no_classes(tmp_path, refuses):
    layouts = {
        "plain": ("images", "masks", "{}"),
        "carvana": ("train_images", "train_masks", "{}_mask"),
        "splits": ("train/images", "train/masks", "{}"),
        "ade": ("images/training", "annotations/training", "{}"),
        "its own name": ("train", "train_masks", "{}_mask"),
    }
    for name, (images, masks, mask) in layouts.items():
        for i in range(6):
            draw(tmp_path / name / images / f"{i}.jpg")
            draw(tmp_path / name / masks / f"{mask.format(i)}.png")
        with refuses("a mask of each", "segmentation is not supported", "a folder for each class"):
            recognize(str(tmp_path / name))
    for kind in ("with_mask", "without_mask", "images"):
        for i in range(12):
            draw(tmp_path / "faces" / kind / f"{kind}{i}.png")
    assert recognize(str(tmp_path / "faces")).source == "images"


# ---- As people and tools write them


def test_a_class_of_one_image_is_in_the_train_split(tmp_path, caplog):
    pets(tmp_path)
    for i in range(12):
        draw(tmp_path / f"rare{i}" / f"{i}.png")
    found = recognize(str(tmp_path))
    assert len({*found.splits["train"].columns["label"].tolist()}) == 14
    assert "all are in the train split" in caplog.text


def test_folders_of_texts_that_are_called_as_splits_are_those(tmp_path):
    for part, word in {"train": "abc ", "valid": "cab ", "test": "bca "}.items():
        (tmp_path / part).mkdir()
        (tmp_path / part / "one.txt").write_text(word * 40)
        (tmp_path / part / "empty.txt").write_text("")
    found = recognize(str(tmp_path)).splits
    assert {r: t.columns["text"].tolist() for r, t in found.items()} == {
        "train": ["abc " * 40],
        "validation": ["cab " * 40],
        "test": ["bca " * 40],
    }


def reviews(folder, splits=("",), suffix=".txt"):
    for split in splits:
        for kind in ("neg", "pos"):
            (folder / split / kind).mkdir(parents=True)
            for i in range(20):
                (folder / split / kind / f"{i}{suffix}").write_text(f"a film that is {kind} {i}")


def test_folders_of_texts_by_class_are_classes(tmp_path):
    reviews(tmp_path / "split", ("train", "test"))
    for name in ("README", "imdbEr.txt", "train/urls_pos.txt"):  # as in the reviews of Maas et al.
        (tmp_path / "split" / name).write_text("a note")
    found = recognize(str(tmp_path / "split"))
    assert (found.source, found.settings) == ("text_folders", {"path": str(tmp_path / "split")})
    assert {role: len(table) for role, table in found.splits.items()} == {"train": 40, "test": 40}
    reviews(tmp_path / "flat")
    reviews(tmp_path / "bare", suffix="")
    for name in ("flat", "bare"):
        found = recognize(str(tmp_path / name))
        assert found.source == "text_folders" and {*found.splits} == {"train", "test"}
        assert "in 2 classes: neg 20, pos 20" in found.notes[0]


def test_texts_that_are_not_all_in_folders_by_class_are_one_text(tmp_path):
    reviews(tmp_path / "deep" / "a")
    reviews(tmp_path / "loose")
    for i in range(50):
        (tmp_path / "loose" / f"{i}.txt").write_text("a film that is 12 pos neg")
    (tmp_path / "books").mkdir()
    for name in ("emma", "persuasion"):
        (tmp_path / "books" / name).mkdir()
        (tmp_path / "books" / name / "all.txt").write_text("once upon a time " * 50)
    (tmp_path / "deep" / "b").mkdir()
    for name in ("deep", "loose", "books"):
        assert recognize(str(tmp_path / name)).source == "text"


def test_the_end_of_the_only_line_does_not_keep_all_for_training(tmp_path):
    (tmp_path / "line.txt").write_text("to be or not to be " * 60 + "\n")
    assert {*recognize(str(tmp_path / "line.txt")).splits} == {"train", "validation"}


def test_labels_beside_images_are_not_prose(tmp_path, refuses):
    for i in range(30):
        draw(tmp_path / "obj_train_data" / f"{i}.png")
        (tmp_path / "obj_train_data" / f"{i}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    with refuses("classes.txt"):
        recognize(str(tmp_path))
    (tmp_path / "obj.names").write_text("ball\n")
    found = recognize(str(tmp_path))
    assert found.source == "yolo" and found.splits["train"].classes == ("ball",)


def test_roboflows_yolo_without_its_test_split_and_another_name(tmp_path, caplog):
    for part in ("train", "valid"):
        draw(tmp_path / part / "images" / f"{part}.png")
        (tmp_path / part / "labels").mkdir()
        (tmp_path / part / "labels" / f"{part}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    description = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [a]\n"
    (tmp_path / "balls.yaml").write_text(description)
    found = recognize(str(tmp_path))
    assert {*found.splits} == {
        "train",
        "validation",
    } and "continuing without a test split" in caplog.text


@pytest.mark.parametrize(
    ("notes", "pictures"),
    [("annotations", "images"), ("train", "train"), (".", "."), ("Annotations", "images")],
)
def test_voc_as_tools_write_it(tmp_path, notes, pictures):
    for i in range(30):
        draw(tmp_path / pictures / f"{i}.png", (40, 30))
        (tmp_path / notes).mkdir(exist_ok=True)
        (tmp_path / notes / f"{i}.xml").write_text(
            f"<annotation><filename>{i}.png</filename><size><width>40</width><height>30</height>"
            "</size><object><name>ball</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>20</xmax>"
            "<ymax>20</ymax></bndbox></object></annotation>"
        )
    found = recognize(str(tmp_path))
    assert found.source == "voc" and found.splits["train"].classes == ("ball",)


def test_coco_with_capitals_and_in_any_folder(tmp_path):
    boxes(tmp_path / "capitals", "Train")
    boxes(tmp_path / "capitals", "Valid")
    assert {*recognize(str(tmp_path / "capitals")).splits} == {"train", "validation"}
    boxes(tmp_path / "fifty", "data", name="labels.json")
    assert recognize(str(tmp_path / "fifty")).source == "coco"


def test_the_one_folder_that_an_archive_unpacks_to(tmp_path):
    pets(tmp_path / "pets" / "pets-v2")
    assert recognize(str(tmp_path / "pets")).settings["path"].endswith("pets/pets-v2")


def test_what_lies_beside_images_is_told_and_left_out(tmp_path, caplog):
    pets(tmp_path / "train")
    pets(tmp_path / "val")
    (tmp_path / "val" / "owl").mkdir()
    (tmp_path / "train" / "cat" / "0.json").write_text("{}")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "notes.csv").write_text("a\n")
    found = recognize(str(tmp_path))
    assert (
        len(found.splits["train"]) == 40
        and "left out files that do not look like images" in caplog.text
    )


def test_numbers_beside_a_name_or_date_are_learnt_from(table):
    rows = [f"Fri Mar {i} 00:00:00 2024,{i},{'rain' if i % 2 else 'sun'}" for i in range(1, 30)]
    assert recognize(table("date,temp,label", *rows)).settings["features"] == ("temp",)


def test_a_few_words_are_a_text_where_nothing_else_is(table):
    rows = [f"great phone {i},{'pos' if i % 3 else 'neg'}" for i in range(30)]
    assert recognize(table("review,label", *rows)).settings["text"] == ("review",)


@pytest.mark.parametrize(
    ("name", "values", "role"),
    [
        ("label", range(26), "label"),
        ("y2", ("0.0", "1.0"), "label"),
        ("class", ("1.0", "2.0", "3.0"), "label"),
        ("y2", range(26), "target"),
        ("label", ("0.5", "1.5"), "target"),
    ],
)
def test_whole_numbers_in_a_column_of_labels_are_classes(table, name, values, role):
    rows = [f"{i * 0.1:.1f},{value}" for i in range(4) for value in values]
    assert recognize(table(f"a,{name}", *rows)).settings[role] == name


def test_a_few_persons_are_no_group(table):
    rows = [f"{1 + i % 7},{i * 0.5},{'ab'[i % 2]}" for i in range(200)]
    assert "group" not in recognize(table("household,income,label", *rows)).settings


def test_truths_are_numbers_and_gaps_are_told(table, refuses):
    rows = [f"{['Yes', 'No'][i % 2]},{i},{'ab'[i % 2]}" for i in range(20)]
    assert "features" not in recognize(table("smoker,age,label", *rows)).settings
    with refuses("'age': 20 gaps", "fill the gaps"):
        recognize(table("age,label", *(f",{'ab'[i % 2]}" for i in range(20)), name="u.csv"))


@pytest.mark.parametrize(
    ("header", "row", "name"),
    [
        ("size, m2\tprice\tkind", "{i}\t{i}.5\t{c}", "t.tsv"),
        ("Länge (cm, außen);Breite (cm, außen);Art", "{i};2{i};{c}", "t.csv"),
        ("a,b,c", "{i},2{i},{c},", "t.csv"),
        ("a,b,c,,", "{i},2{i},{c},,", "t.csv"),  # as spreadsheets write it
        ("0,1,2", "{i}.5,2{i},{c}", "t.csv"),  # pandas, of an array
        ('"a","b","c"', '"{i}",{i},2{i},"{c}"', "t.csv"),  # R's write.table
    ],
)
def test_tables_of_other_tools(table, header, row, name):
    rows = [row.format(i=i, c="xy"[i % 2]) for i in range(1, 30)]
    found = recognize(table(header, *rows, *([",,,,"] if ",," in header else []), name=name))
    assert "label" in found.settings and found.splits["train"].classes == ("x", "y")


def test_cells_without_a_header_are_no_prose(tmp_path, refuses):
    (tmp_path / "iris.data").write_text("5.1,3.5,1.4,setosa\n6.0,2.2,4.0,virginica\n" * 9)
    with refuses("add a header line"):
        recognize(str(tmp_path / "iris.data"))


def test_20_newsgroups_as_its_archive_unpacks(tmp_path):
    for split in ("train", "test"):
        for group in ("alt.atheism", "sci.space"):
            folder = tmp_path / f"20news-bydate-{split}" / group
            folder.mkdir(parents=True)
            for i in range(3):
                (folder / str(50_000 + i)).write_text(f"Subject: {group} {i}, {split}\n")
    data = recognize(str(tmp_path))
    assert data.source == "text_folders" and {*data.splits} == {"train", "test"}
    assert data.splits["train"].classes == ("alt.atheism", "sci.space")


def test_points_between_thousands_are_no_decimal_ones(table, refuses):
    with refuses("column 'price' looks like numbers ('100.000')"):
        recognize(table("area;price", *(f"{i},5;{i}00.000" for i in range(1, 10))))
    rows = [f"{i},5;1.{i}00,25" for i in range(1, 10)]
    found = recognize(table("area;price", *rows))
    assert found.splits["train"].columns["target"].min() > 1000
    notes = recognize(table("rooms;price", *(f"{i};{i}00.000" for i in range(1, 10)))).notes
    assert "reads 100.000 in 'price' as 100; if its points divide thousands, remove them" in notes


def test_an_id_is_no_feature_and_none_is_predicted(table, caplog):
    rows = [f"{7 * i % 31},{i % 5},{'xy'[i % 2]},{100 + i}" for i in range(1, 31)]
    found = recognize(table("PassengerId,fare,port,ticketNr", *rows))
    assert found.settings["label"] == "port" and found.settings["features"] == ("fare",)
    recognize(table("name,day,fare,port", *(f"x,{i},{i % 5},{'xy'[i % 2]}" for i in range(30))))
    assert "'day' numbers the rows" in caplog.text


def test_blanks_divide_where_nothing_else_does(table):
    rows = [f"{i:<4} {i % 3:<9} {i * 1.5}" for i in range(1, 30)]
    found = recognize(table("a    b         c", *rows))
    assert (found.settings["delimiter"], found.settings["target"]) == (" ", "c")
    assert found.splits["train"].columns["features"].shape[1] == 2
    semicolons = recognize(table("a;b", *(f"{i};{i % 2}" for i in range(30)), name="t.tsv"))
    assert semicolons.settings["delimiter"] == ";"


def test_a_table_that_is_not_utf_8_is_read_as_excel_writes_it(tmp_path, refuses):
    rows = "".join(f"{i},5;{'größer' if i % 2 else 'klein'}\n" for i in range(30))
    (tmp_path / "t.csv").write_text(f"Länge;Art\n{rows}", "cp1252")
    found = recognize(str(tmp_path / "t.csv"))
    assert found.settings["encoding"] == "cp1252" and found.settings["decimal"] == ","
    assert found.splits["train"].classes == ("größer", "klein")
    assert any("reads it as cp1252" in note for note in found.notes)
    (tmp_path / "t.csv").write_bytes(b"\xff\x00\x80a,b")
    with refuses("t.csv", "is not text"):
        recognize(str(tmp_path / "t.csv"))


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("train-images-idx3-ubyte", b"\0\0\x08\x03", "is in MNIST's format"),
        ("data_batch_1", b"\x80\x04\x95", "is a pickle, which runs code"),
        ("X.npy", b"\x93NUMPY", "is one array"),
        ("a9a.libsvm", b"1 3:1\n", "has sparse rows"),
        ("iris.arff", b"@data\n", "is ARFF"),
        ("data/train.parquet", b"PAR1", "has tables in folders, such as 'data/train.parquet'"),
        ("wiki.train.tokens", b"a b\n", "/*.tokens'"),
    ],
)
def test_a_folder_of_files_of_another_kind_is_told_what_they_are(
    tmp_path, refuses, name, content, words
):
    for folder in (Path(name).parent.name, "other"):
        file = tmp_path / folder / Path(name).name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
    with refuses(str(tmp_path), words):
        recognize(str(tmp_path))


def test_a_folder_with_a_single_file_is_as_the_file(tmp_path, refuses):
    (tmp_path / "messages").write_text("ham\tsee you\nspam\tcall now\n" * 20)
    with refuses("messages: every line has the same number of tabs"):
        recognize(str(tmp_path))
