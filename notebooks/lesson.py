# %% en
# # Why residual networks work
#
# Very deep networks were hard to train until He, Zhang, Ren and Sun let the signal pass around each pair of
# layers ([2015](https://arxiv.org/abs/1512.03385)). This lesson builds networks with and without these
# shortcuts, trains them, and *looks* at the difference: at their gradients, at what happens when a block is
# taken out, and at the shape of the loss.
#
# It takes some minutes on two CPU cores. To run it, clone this project and `pip install -e ".[notebook]"` in
# its directory; on Colab, do the same in a cell with `%pip` and restart the session.
# %% zh
# # 残差网络为什么有效
#
# 很深的网络曾经很难训练，直到何恺明等人让信号绕过每两层卷积直接向前传
# （[2015](https://arxiv.org/abs/1512.03385)）。本课分别搭建有捷径和没有捷径的网络，训练它们，并把差别
# *画出来看*：梯度如何传播，拿掉一个块会怎样，损失曲面又是什么形状。
#
# 在两个 CPU 核上只需几分钟。运行之前，先克隆本项目，在项目目录里执行 `pip install -e ".[notebook]"`；
# 如果用 Colab，就在单元格里用 `%pip` 安装，然后重启会话。
# %%
# %matplotlib inline
import logging
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # TensorFlow speaks of errors only

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from IPython.display import SVG
from PIL import Image

import resnet
from resnet.listing import files
from resnet.models import architecture, names
from resnet.report import evaluation, figures
from resnet.run.trained import read_image
from resnet.training import optimizers, schedules

logging.basicConfig(format="%(message)s", stream=sys.stdout)
logging.getLogger("resnet.run").setLevel("INFO")  # a line an epoch
resnet.prepare(seed=0, precision="auto")
# %% en
# ## Settings
#
# This is the only cell to change. The digits suit two CPU cores. For CIFAR-10 on a GPU, take the `#` away from
# the last lines; its pictures are downloaded first.
# %% zh
# ## 设置
#
# 要改的只有这一格。手写数字的数据量适合两个 CPU 核。想在 GPU 上用 CIFAR-10，去掉最后几行开头的 `#` 即可，
# 图片会先自动下载。
# %% settings
data = resnet.data.digits()
augment = resnet.augmentation.shift_flip(flip=False)  # a mirrored digit is no digit
depths, epochs, batch_size, rate = (20, 56), 10, 32, 0.05
looked_at = 200  # images for the pictures of gradients, lesions and loss

# data = resnet.data.cifar10()
# augment = resnet.augmentation.crop_flip()
# depths, epochs, batch_size, rate = (20, 56), 30, 128, 0.1
# %% en
# ## The data
#
# Each row shows pictures of one class. A tenth of the training images is set aside for validation; the test
# images are looked at once, at the end.
# %% zh
# ## 数据
#
# 每一行是同一类的图片。训练图片中有十分之一留作验证；测试图片只在最后看一次。
# %%
for name, part in data.parts.items():
    print(f"{name}: {len(part):,} images of {' x '.join(map(str, part.image_shape))}")
chosen = figures.samples(data.train, data.class_names, rows=data.num_classes)
images, labels = data.train.batch(chosen)
figures.grid(images, [figures.short(data.class_names[label]) for label in labels])
# %% en
# ## Augmentation
#
# A network that sees the very same pixels in every epoch learns them by heart. So each time it sees a picture,
# that is moved a little (and, where that makes sense, mirrored). Here is one picture of each of five classes, as
# ten steps of the training would see it.
# %% zh
# ## 数据增强
#
# 如果每一轮看到的像素都一模一样，网络就会死记硬背。因此每次看到一张图片，都先把它随机平移一点
# （在有意义的情况下还会左右翻转）。下面从五个类别中各取一张，看看训练中十次见到它的样子。
# %%
preprocessing = resnet.data.Preprocessing.of(data, augment)
first = tf.constant(0)
some = np.repeat([np.flatnonzero(data.train.labels == k)[0] for k in range(min(5, data.num_classes))], 10)
batch = preprocessing.augmented(*data.train.batch(some), tf.constant(some, tf.int32), first, first)
figures.grid(preprocessing.pixels(batch.images).numpy(), [""] * len(some))
# %% en
# ## What a residual is
#
# A plain block computes *y* = *F*(*x*): two convolutions, each with batch norm, and a ReLU. A residual block
# computes *y* = *F*(*x*) + *x*. What it has to learn is only what is to be *added* to its input, the residual. If
# nothing is to be added, *F* = 0 will do; a plain block would have to learn the identity.
#
# The shortcut costs nothing: both networks have as many weights, but for the two places where the picture
# shrinks and the shortcut needs a 1x1 convolution. In the drawing of the residual one, the lines beside the
# blocks are the shortcuts.
# %% zh
# ## 什么是残差
#
# 普通块计算 *y* = *F*(*x*)：两层卷积，各带批归一化，再加 ReLU。残差块计算 *y* = *F*(*x*) + *x*，它只需学会要往输入上
# *加*什么，也就是残差。如果什么都不用加，令 *F* = 0 就行；普通块却得专门学会恒等映射。
#
# 捷径几乎不花代价：两种网络的权重一样多，只在特征图缩小的两处，捷径需要一个 1x1 卷积。下面是残差网络的
# 结构图，块旁边的线就是捷径。
# %%
shapes = {"input_shape": data.image_shape, "num_classes": data.num_classes}
for build in (resnet.models.plain, resnet.models.resnet_v1):
    model = build(**shapes, depth=depths[0])
    print(f"{model.name}: {model.count_params():,} parameters")
SVG(architecture.svg(model))
# %% en
# ## Version 1 and version 2
#
# A year later the same authors moved batch norm and ReLU in front of the convolutions
# ([2016](https://arxiv.org/abs/1603.05027)). Then nothing at all stands in the way of the shortcut: from any
# block to any other there is a path of additions only, forwards for the signal and backwards for the gradient.
# These are the operations of one block in their order. (This version 2 has blocks of three convolutions, of which
# the outer ones are 1x1.)
# %% zh
# ## 第一版与第二版
#
# 一年之后，这几位作者把批归一化和 ReLU 移到卷积之前（[2016](https://arxiv.org/abs/1603.05027)）。这样捷径上
# 就再没有任何阻挡：从任意一块到另一块，都有一条只含加法的通路，信号沿它向前，梯度沿它向后。下面依次列出
# 一个块里的运算。（这里的第二版每块有三层卷积，首尾两层是 1x1。）
# %%
for build, depth in ((resnet.models.resnet_v1, 20), (resnet.models.resnet_v2, 29)):
    model = build(**shapes, depth=depth, stage="unrolled")
    block = [names.place(layer.name).operation for layer in model.layers if "stage1_block2" in layer.name]
    print(f"{model.name}: {' -> '.join(block)}")


# %% en
# ## Training: plain against residual
#
# Four networks: shallow and deep, plain and residual, with the same recipe. The rate rises over the first quarter
# and then falls to zero (`OneCycle`).
# %% zh
# ## 训练：普通网络对残差网络
#
# 一共四个网络：浅的和深的，普通的和残差的，训练方法完全相同。学习率在前四分之一逐渐升高，然后降到零
# （`OneCycle`）。
# %%
def train(build, depth):
    return resnet.fit(
        build(**shapes, depth=depth, bn_momentum=0.9, l2=5e-5),
        data,
        optimizers.SGD(rate, momentum=0.9),
        schedule=schedules.OneCycle(epochs),
        augmentation=augment,
        epochs=epochs,
        batch_size=batch_size,
    )


trained = {}
for family in ("plain", "resnet_v1"):
    for depth in depths:
        print(family, depth)
        trained[f"{family} {depth}"] = train(getattr(resnet.models, family), depth)
# %% en
# More layers can do all that fewer can, and still the deep plain network ends with a *higher training* loss: that is
# no overfitting, it is harder to train. He et al. called it degradation. The residual networks do not suffer from
# it. (The loss includes the weight decay, so the deeper one's ends a little higher at the same accuracy.)
# %% zh
# 层数多的网络能表达层数少的网络所能表达的一切，可是深的普通网络*训练*损失反而更高：这不是过拟合，而是更难
# 训练，论文称之为“退化”。残差网络没有这个毛病。
# （损失里包含权重衰减，所以准确率相同时，深的网络损失会略高一点。）
# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 3.8))
for (label, trainer), style in zip(trained.items(), ("C0o-", "C0s--", "C1^-.", "C1d:"), strict=True):
    for panel, value in zip(axes, ("loss", "accuracy"), strict=True):
        values = [record["train"][value] for record in trainer.history]
        panel.plot(range(1, epochs + 1), values, style, mfc="white", label=label)
        panel.set(title=f"training {value}", xlabel="epoch")
axes[0].set_yscale("log")
axes[1].legend()
plt.show()
# %% en
# ## Why: the gradient arrives
#
# Here is the length of the loss' gradient at each block, from the first to the last: before the first step, and after
# the last one. In the plain network it changes by about the same factor from block to block, and so by orders of
# magnitude over all of them: no learning rate suits the first blocks and the last ones. With shortcuts it is of one
# size.
# %% zh
# ## 原因之一：梯度传得到
#
# 下图是损失对每一块的梯度的长度，从第一块到最后一块，分别取自第一步之前和最后一步之后。在普通网络里，每过一块
# 它就乘上差不多的倍数，一路下来相差几个数量级：没有哪个学习率能同时适合最前面和最后面的块。有了捷径，各块的
# 梯度大小相近。
# %%
deep = {label: trainer for label, trainer in trained.items() if label.endswith(str(depths[-1]))}
found = resnet.explain("gradients", deep, count=looked_at)
print(found.sentence)
found.figure
# %% en
# ## Why: many paths instead of one
#
# With shortcuts each block is a fork: through it, or around it. *n* blocks make 2<sup>n</sup> paths, most of them short
# (Veit et al. [2016](https://arxiv.org/abs/1605.06431)). If that is so, the network should bear the loss of a block.
# It does. The plain network, which has one path only, breaks.
# %% zh
# ## 原因之二：路不止一条
#
# 有了捷径，每一块都是一个岔口：可以穿过去，也可以绕过去。*n* 块就有 2<sup>n</sup> 条路径，其中多数很短
# （Veit 等，[2016](https://arxiv.org/abs/1605.06431)）。果真如此，网络就应该经得起拿掉一块。事实正是这样；
# 而只有一条路的普通网络就垮了。
# %%
found = resnet.explain("lesion", deep, count=looked_at, draws=2)
print(found.sentence)
found.figure
# %% en
# ## Why: a smoother loss
#
# From the trained weights we walk in two random directions, each filter in its own scale, and look at the loss
# (Li et al. [2018](https://arxiv.org/abs/1712.09913)). Compare the shapes: the residual network lies at the bottom of
# a round valley, which is deep; around the plain one the bottom is higher and flatter, and beyond it stand walls.
# %% zh
# ## 原因之三：更平缓的损失曲面
#
# 从训练好的权重出发，沿两个随机方向走（每个滤波器按自身的尺度缩放），看损失怎样变化
# （Li 等，[2018](https://arxiv.org/abs/1712.09913)）。对比两者的形状：残差网络处在一个又圆又深的谷底；普通网络
# 的谷底更高、更平，再往外就是陡壁。
# %%
found = resnet.explain("landscape", deep, count=looked_at, points=5)
print(found.sentence)
found.figure
# %% en
# ## The learning rate, and a rule that never acted
#
# The Keras example that many learn from uses two callbacks: `LearningRateScheduler`, which sets the rate by the
# epoch, and `ReduceLROnPlateau`, which lowers it when the loss stops falling. Both write to the same variable, and
# the first one writes anew at each epoch's beginning: what the second one did is gone. Here are Keras' own callbacks
# on a loss that cannot fall.
# %% zh
# ## 学习率，以及一条从未生效的规则
#
# 许多人学过的那个 Keras 示例用了两个回调：`LearningRateScheduler` 按轮次设定学习率，`ReduceLROnPlateau` 在损失
# 不再下降时把它调低。两者写的是同一个变量，而前者每轮开头都会重写一遍，后者刚做的修改就没有了。下面让 Keras
# 自带的回调面对一个不可能下降的损失，看看结果。
# %%
import keras

stuck = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])  # of 0 it makes 0
stuck.compile(keras.optimizers.SGD(1.0), "mse")
used = keras.callbacks.LambdaCallback(
    on_epoch_begin=lambda epoch, logs: rates.append(float(stuck.optimizer.learning_rate))
)


def rates_with(*callbacks):
    """The rate of each of 12 epochs."""
    rates.clear()
    stuck.optimizer.learning_rate = 1.0
    stuck.fit(np.zeros((4, 1)), np.ones((4, 1)), epochs=12, verbose=0, callbacks=[*callbacks, used])
    return list(rates)


rates, step = [], schedules.Steps(boundaries=[8], factors=[0.1])
plateau = {"monitor": "loss", "factor": 0.5, "patience": 3}
scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: step(epoch))
both = rates_with(keras.callbacks.ReduceLROnPlateau(**plateau), scheduler)
alone = rates_with(keras.callbacks.ReduceLROnPlateau(**plateau))
# %% en
# This project multiplies the two: the schedule gives a rate, the plateau rule a factor of its own. Neither overwrites
# the other, and both are in the checkpoint.
# %% zh
# 本项目让两者相乘：调度给出学习率，平台规则给出自己的系数，谁也不会覆盖谁，而且都存进检查点。
# %%
ours, rule = [], schedules.Plateau(factor=0.5, patience=3)
for epoch in range(12):
    ours.append(rule.bound(step(epoch)))
    rule.update(1.0, ours[-1])
figure, axes = plt.subplots(figsize=(7, 3.5))
lines = {"Keras: schedule and plateau": both, "Keras: plateau alone": alone, "here: schedule x plateau": ours}
for (label, line), style in zip(lines.items(), ("C1s--", "k^:", "C0o-"), strict=True):
    axes.plot(range(1, 13), line, style, mfc="white", label=label)
axes.set(yscale="log", xlabel="epoch", title="learning rate while the loss does not fall")
axes.legend()
plt.show()
# %% en
# ## The score
#
# Now the test images, for the first time. The table has true classes down and predicted ones across.
# %% zh
# ## 成绩
#
# 现在才第一次用到测试图片。混淆矩阵的行是真实类别，列是预测类别。
# %%
for label, trainer in trained.items():
    print(f"{label}: test accuracy {trainer.evaluate(data.test)['accuracy']:.2%}")
best = trained[f"resnet_v1 {depths[0]}"]
probabilities = evaluation.predict(best.model, data.test, best.preprocessing)
figures.confusion(evaluation.confusion(probabilities, data.test.labels), data.class_names)
# %% en
# ## Its mistakes
#
# Look at the pictures that it got wrong, the worst first: above each is what it is, and what the network takes it for.
# Some of them a human would not get right either.
# %% zh
# ## 它犯的错
#
# 看看它认错的图片，错得最离谱的排在最前：图上方写着它其实是什么、网络又认成了什么。其中有些，人也未必认得对。
# %%
figures.mistakes(data.test, probabilities, data.class_names, rows=2)
# %% en
# ## Your own pictures
#
# Put pictures into the folder `mine` beside this notebook, and run this cell again. They may have any size: they are
# cropped and shrunk to what the network takes. As long as there is none of yours, a test image lies there, enlarged.
# %% zh
# ## 你自己的图片
#
# 把图片放进本笔记本旁边的 `mine` 文件夹，再运行一次这一格。尺寸不限，会自动裁剪、缩小成网络需要的大小。
# 在你放入图片之前，里面先放一张放大的测试图片。
# %%
folder = Path("mine")
folder.mkdir(exist_ok=True)
if not any(folder.iterdir()):
    Image.fromarray(data.test.images[0]).resize((240, 200)).save(folder / "example.png")
paths = files(folder)
pictures = np.stack([read_image(path, data.image_shape) for path in paths])
guesses = evaluation.predict(best.model, pictures, best.preprocessing)
captions = [f"{figures.short(data.class_names[p.argmax()])} {p.max():.0%}" for p in guesses]
figures.grid(pictures, captions, columns=max(4, len(paths)))
# %% en
# ## Further
#
# - `python train.py --help`: all of this from the command line, with more networks, data and recipes.
# - `python explain.py run=...`: these pictures of any run, and others: where it looks, what it has learned, which
#   labels are wrong.
# - [docs/why.md](../docs/why.md) tells the same story with CIFAR-10, in four pictures.
# %% zh
# ## 接下来
#
# - `python train.py --help`：用命令行做这里的一切，还有更多网络、数据和训练方案。
# - `python explain.py run=...`：为任何一次训练画出这些图，以及别的图：它看哪里，学到了什么，哪些标签可能标错了。
# - [docs/why.md](../docs/why.md) 用 CIFAR-10 和四张图讲同一个故事。
