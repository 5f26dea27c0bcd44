"""Remarks of the law library, which speaks English, in the language of the page.

Warnings and reasons are stored as sentences with numbers in them. They are known here by their pattern; one that is not known is shown as
it is, which is honest and not pretty. Another way would be remarks as codes with values, at the price of a second table of texts
in the library.
"""

import re
from collections.abc import Sequence

_CHINESE: Sequence[tuple[str, str]] = (
    (r"three amounts of data fix three constants: .*", "三个数据量恰好确定三个常数，没有余地检验形式是否成立"),
    (r"all losses are equal: .*", "所有损失相等，除 E 以外的常数都没有意义"),
    (r"loss does not fall with data or parameters on the whole: .*", "损失总体上不随数据或参数下降，任何形式都只能说它是平的"),
    (r"no model size was trained with two seeds: .*", "没有任何规模用过两个种子：种子之间的波动未知，以曲线附近的散布代替"),
    (r"loss rises with data in (\S+) of (\S+) series of one size; .*", r"\2 组同一规模的训练中，有 \1 组的损失随数据上升"),
    (r"loss rises with data at (\S+) parameters \(up to (.+) tokens\): .*", r"\1 参数时损失随数据上升（至 \2 词元）：这类形式不允许如此"),
    (r"the largest model has (\S+) parameters: .*", r"最大的模型只有 \1 参数：单位是否为千、百万或十亿？"),
    (r"the most data is (\S+) tokens: .*", r"最大的数据量只有 \1 词元：单位是否为百万或十亿？"),
    (r"the median run has (\S+) tokens per parameter: .*", r"中位训练的每参数词元数为 \1：参数与词元的单位可能不同"),
    (r"the largest loss is (\S+): .*", r"最大的损失为 \1：是困惑度，还是出错的训练？定律只适用于损失"),
    (r"between neighbouring numbers of (\w+) lies a factor of (\S+): .*", r"相邻的 \1 数相差 \2 倍：有些行的单位可能不同"),
    (r"the law hangs on the (\d+) points with the least data \(up to (\S+) tokens\); without them: (.*)\. Warm-up.*",
     r"定律取决于数据最少的 \1 个点（至 \2 词元）；去掉它们：\3。是预热阶段，还是训练太短？"),
    (r"(\d+) of (\d+) points lie far from the law \((\d+) above, (\d+) below; .*", r"\2 个点中有 \1 个远离定律（\3 个在上，\4 个在下）"),
    (r"only (\d+) of (\d+) starts met the best minimum: .*", r"\2 个起点中只有 \1 个到达最好的极小值：换个起点也许更好"),
    (r"the chosen sizes and amounts of data cannot fix it", "所选的规模与数据量无法确定它"),
    (r"no loss is left to this term", "没有损失可归于这一项"),
    (r"the exponent (\w+) is open", r"指数 \1 未定"),
    (r"its interval \[(.+)\] reaches the edge of the range searched", r"其区间 [\1] 触及搜索范围的边缘"),
    (r"its interval \[(.+)\] reaches 0", r"其区间 [\1] 触及 0"),
    (r"its interval \[(.+)\] spans a factor of (\S+)", r"其区间 [\1] 跨越 \2 倍"),
    (r"not identified: (\S+) to (\S+)(?: \(.*\))? fit within (\S+) of the best objective",
     r"无法确定：\1 到 \2 的目标函数都在最优的 \3 以内"),
    (r"not identified: (\S+) to (\S+)(?: \(.*\))? fit within a 90% likelihood ratio of the best",
     r"无法确定：\1 到 \2 都在 90% 似然比以内"),
)  # fmt: skip


def said(remark: str, language: str) -> str:
    """A remark in a language; one that is not known stays as it is."""
    if language == "zh":
        for pattern, text in _CHINESE:
            found = re.fullmatch(pattern, remark, re.DOTALL)
            if found:
                return found.expand(text)
    return remark
