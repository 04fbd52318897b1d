"""Counting in HLO text."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxdl.hlo import Program

TEXT = """\
HloModule small, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%taken (p: f32[10,8], i: s32[]) -> f32[8] {
  %p = f32[10,8]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %row = f32[1,8]{1,0} dynamic-slice(%p, %i, %i), dynamic_slice_sizes={1,8}
  ROOT %flat = f32[8]{0} bitcast(%row)
}

%body (t: (s32[], f32[10,8])) -> (s32[], f32[10,8]) {
  %t = (s32[], f32[10,8]{1,0}) parameter(0)
  %n = s32[] get-tuple-element(%t), index=0
  %xs = f32[10,8]{1,0} get-tuple-element(%t), index=1
  %one = f32[8]{0} fusion(%xs, %n), kind=kLoop, calls=%taken
  %gathered = f32[32]{0} all-gather(%one), replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %again = (s32[], f32[10,8]{1,0}) tuple(%n, %xs)
}

%condition (t: (s32[], f32[10,8])) -> pred[] {
  %t = (s32[], f32[10,8]{1,0}) parameter(0)
  %n = s32[] get-tuple-element(%t), index=0
  %ten = s32[] constant(10)
  ROOT %less = pred[] compare(%n, %ten), direction=LT
}

ENTRY %main (a: f32[10,8], b: f32[8,4]) -> f32[10,4] {
  %a = f32[10,8]{1,0} parameter(0)
  %b = f32[8,4]{1,0:T(8,128)S(1)} parameter(1)
  %zero = s32[] constant(0)
  %start = (s32[], /*index=1*/f32[10,8]{1,0}) tuple(%zero, %a)
  %loop = (s32[], f32[10,8]{1,0}) while(%start), condition=%condition, body=%body
  %r = f32[10,8]{1,0} all-reduce(%a), replica_groups=GROUPS, to_apply=%add
  ROOT %dot = f32[10,4]{1,0} dot(%r, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""


@pytest.mark.parametrize(
    ("groups", "devices"),
    [
        ("{{0,1,2,3},{4,5,6,7}}", 4),
        ("[4,2]<=[8]", 2),
        ("[2,4]<=[4,2]T(1,0)", 4),
        ("mesh['axis_0'=8,'axis_1'=1] {'axis_0','axis_1'}", 8),
        ("mesh['a'=4,'b'=2] {'b'}", 2),
        ("{{0},{1}}", 1),
    ],
)
def test_collectives(groups, devices):
    found = Program.of(TEXT.replace("GROUPS", groups)).collectives
    assert found["all-gather", "count"] == 10  # one in each round of the loop
    assert found["all-gather", "bytes"] == 10 * 8 * 4
    assert found["all-gather", "sent"] == 10 * 8 * 4 * 3
    assert found["all-reduce", "count"] == (devices > 1)
    assert found["all-reduce", "sent"] == 2 * (devices - 1) / devices * 10 * 8 * 4


BESIDE = """\
HloModule beside

%first (x: f32[8]) -> f32[32] {
  %x = f32[8]{0} parameter(0)
  ROOT %begun = f32[32]{0} all-gather(%x), channel_id=8, replica_groups=[1,4]<=[4], dimensions={0}
}

%second (x: f32[8]) -> f32[32] {
  %x = f32[8]{0} parameter(0)
  ROOT %ended = f32[32]{0} all-gather(%x), channel_id=8, replica_groups=[1,4]<=[4], dimensions={0}
}

%all-reduce-scatter (x: f32[8]) -> f32[2] {
  %x = f32[8]{0} parameter(0)
  %i = s32[] partition-id()
  %all = f32[8]{0} all-reduce(%x), channel_id=9, replica_groups=[1,4]<=[4], to_apply=%add
  ROOT %part = f32[2]{0} dynamic-slice(%all, %i), dynamic_slice_sizes={2}
}

ENTRY %main (a: f32[8]) -> f32[2] {
  %a = f32[8]{0} parameter(0)
  %f = f32[32]{0} fusion(%a), kind=kLoop, calls=%first
  %g = f32[32]{0} fusion(%a), kind=kLoop, calls=%second
  ROOT %h = f32[2]{0} fusion(%a), kind=kCustom, calls=%all-reduce-scatter
}
"""


def test_a_collective_that_is_written_beside_several_operations_counts_once():
    found = Program.of(BESIDE).collectives
    assert (found["all-gather", "count"], found["all-gather", "sent"]) == (1, 3 * 8 * 4)
    assert (found["reduce-scatter", "count"], found["reduce-scatter", "sent"]) == (1, 0.75 * 8 * 4)
    assert found["all-reduce", "count"] == 0


def test_what_is_moved():
    program = Program.of(TEXT.replace("GROUPS", "{{0,1}}"))
    rows = 10 * (2 * 8 * 4 + 4)  # a row read and written in each round, and the index
    gathered = 10 * (8 + 32) * 4
    reduced = 2 * 10 * 8 * 4
    product = (10 * 8 + 10 * 4) * 4  # `b` is on the chip
    assert program.traffic == rows + gathered + reduced + product


NESTED = """\
HloModule nested

%inner (p: f32[784,8], i: s32[]) -> f32[8] {
  %p = f32[784,8]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %row = f32[1,8]{1,0} dynamic-slice(%p, %i, %i), dynamic_slice_sizes={1,8}
  ROOT %flat = f32[8]{0} bitcast(%row)
}

%outer (p: f32[784,8], i: s32[]) -> f32[8] {
  %p = f32[784,8]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %taken = f32[8]{0} fusion(%p, %i), kind=kLoop, calls=%inner
  ROOT %twice = f32[8]{0} add(%taken, %taken)
}

ENTRY %main (a: f32[784,8], i: s32[]) -> f32[8] {
  %a = f32[784,8]{1,0} parameter(0)
  %i = s32[] parameter(1)
  ROOT %r = f32[8]{0} fusion(%a, %i), kind=kOutput, calls=%outer
}
"""


def test_of_an_array_a_fusion_within_a_fusion_reads_no_more_than_its_part():
    assert Program.of(NESTED).traffic == 2 * 8 * 4 + 4  # a row, the result, and the index
    whole = NESTED.replace("dynamic-slice(%p, %i, %i)", "copy(%p)")
    assert Program.of(whole).traffic == 784 * 8 * 4 + 8 * 4 + 4


SLICED = """\
HloModule sliced

ENTRY %main (a: f32[4,8]) -> f32[8] {
  %a = f32[4,8]{1,0:T(8,128)} parameter(0)
  %s = ((f32[4,8]{1,0}), f32[1,8]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%a), slice={[0:1], [0:8]}
  %d = f32[1,8]{1,0:T(8,128)S(1)} slice-done(%s)
  ROOT %r = f32[8]{0} bitcast(%d)
}
"""


def test_a_part_on_its_way_into_the_chip_is_read_alone():
    assert Program.of(SLICED).traffic == 8 * 4


def test_the_arithmetic_of_a_product():
    assert Program.of(TEXT.replace("GROUPS", "{{0,1}}")).flops == {"f32": 2 * 10 * 8 * 4}


ONEDNN = """\
HloModule convolution

ENTRY main.1 {
  g.1 = f32[8,16,16,32]{3,2,1,0} parameter(2)
  k.1 = f32[3,3,8,32]{3,2,1,0} parameter(1)
  x.1 = f32[8,32,32,16]{3,2,1,0} parameter(0)
  y.1 = f32[8,16,16,32]{3,2,1,0} custom-call(x.1, k.1), CALL_forward", GEOMETRY
  dx.1 = f32[8,32,32,16]{3,2,1,0} custom-call(g.1, k.1), CALL_input_gradient", GEOMETRY
  ROOT dk.1 = f32[3,3,8,32]{3,2,1,0} custom-call(g.1, x.1), CALL_kernel_gradient", GEOMETRY
}
"""
GEOMETRY = (
    "api_version=API_VERSION_TYPED_FFI, backend_config={dilation = dense<1> : tensor<2xi64>, "
    "groups = 2 : i64, pads = dense<[0, 1, 0, 1]> : tensor<4xi64>, "
    "strides = dense<2> : tensor<2xi64>}"
)


def test_the_arithmetic_of_onednn_is_that_of_its_convolutions():
    text = ONEDNN.replace("CALL", 'custom_call_target="jaxdl_onednn').replace("GEOMETRY", GEOMETRY)
    # Of 16 outputs along an axis the last alone has a tap of three in the padding.
    assert Program.of(text).flops == {"f32": 3 * 2 * 8 * 32 * 8 * (16 * 3 - 1) ** 2}


def counted(function, *shapes):
    """The count of a function as JAX lowers it, before it is compiled."""
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    lowered = jax.jit(function).lower(*arguments)
    return Program.of(lowered.compiler_ir("hlo").as_hlo_text()).flops["f32"]


def test_a_loop_counts_as_often_as_it_runs():
    def scanned(x, w):
        return lax.scan(lambda c, _: (c @ w, None), x, None, length=7)[0]

    assert counted(scanned, (3, 5), (5, 5)) == 7 * 2 * 3 * 5 * 5


def test_of_branches_the_dearest_counts():
    def chosen(i, x, w):
        return lax.switch(i.astype(int), [lambda x: x, lambda x: x @ w, lambda x: x @ w @ w], x)

    assert counted(chosen, (), (3, 5), (5, 5)) == 2 * 2 * 3 * 5 * 5


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_a_convolution_counts_what_meets_an_input(stride, padding):
    def conv(x, k):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, k, (stride, stride), padding, dimension_numbers=numbers)

    # Of ones, each output is the number of products that it sums.
    ones = conv(jnp.ones((2, 9, 8, 3)), jnp.ones((3, 3, 3, 5)))
    forward = counted(conv, (2, 9, 8, 3), (3, 3, 3, 5))
    assert forward == 2 * ones.sum()
    gradient = jax.grad(lambda x, k: jnp.sum(conv(x, k) ** 2), argnums=(0, 1))
    assert counted(gradient, (2, 9, 8, 3), (3, 3, 3, 5)) == 3 * forward
