"""Writes small data sets as TFDS prepares them, without TensorFlow."""

import json

import numpy as np


def write(root, name, splits, features, file_format="array_record"):
    """Write `splits`, {'train': [example, …]}, to the data_dir `root`; returns their folder.

    An example is a dict of what tf.Example holds: bytes, or a list of int or of float, which may be
    empty where it is an array. Features are those of features.json, such as stand below.
    """
    folder = root / name / "1.0.0"
    folder.mkdir(parents=True)
    for split, examples in splits.items():
        path = folder / f"{name.split('/')[0]}-{split}.array_record-00000-of-00001"
        _write_records(path, [_example(example) for example in examples])
    (folder / "dataset_info.json").write_text(json.dumps(_info(name, splits, file_format)))
    (folder / "features.json").write_text(json.dumps(_features(features)))
    return folder


IMAGE = {
    "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
    "image": {"dtype": "uint8", "shape": {"dimensions": ["4", "6", "1"]}},
}
ANY_SIZE = {**IMAGE, "image": {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}}}
LABEL = {
    "pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
    "classLabel": {"numClasses": "3"},
}
TEXT = {"pythonClassName": "tensorflow_datasets.core.features.text_feature.Text", "text": {}}


def tensor(dtype, *shape):
    return {
        "pythonClassName": "tensorflow_datasets.core.features.tensor_feature.Tensor",
        "tensor": {
            "dtype": dtype,
            "encoding": "none",
            "shape": {"dimensions": [str(n) for n in shape]} if shape else {},
        },
    }


def sequence(of):
    return {
        "pythonClassName": "tensorflow_datasets.core.features.sequence_feature.Sequence",
        "sequence": {"feature": of, "length": "-1"},
    }


def _features(features):
    return {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }


def _info(name, splits, file_format):
    return {
        "name": name.split("/")[0],
        "version": "1.0.0",
        "fileFormat": file_format,
        "splits": [
            {
                "name": split,
                "numBytes": "1",
                "shardLengths": [str(len(examples))],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
            for split, examples in splits.items()
        ],
    }


def _example(values):
    from tensorflow_datasets.proto import tf_example_pb2

    example = tf_example_pb2.Example()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            is_float = np.asarray(value).dtype.kind == "f"
            numbers = feature.float_list if is_float else feature.int64_list
            numbers.SetInParent()  # though there may be none
            numbers.value.extend(value)
    return example.SerializeToString()


def _write_records(path, records):
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
