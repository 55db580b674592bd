"""Published numbers that the page shows beside measured ones, each with its source."""

from __future__ import annotations

from reslab.report.sections import Table

HE15 = "He et al. 2015, arXiv 1512.03385"
HE16 = "He et al. 2016, arXiv 1603.05027"
HUANG = "Huang et al. 2017, arXiv 1608.06993"
LI = "Li et al. 2018, arXiv 1712.09913"
VEIT = "Veit et al. 2016, arXiv 1605.06431"
XIE = "Xie et al. 2016, arXiv 1611.05431"

WINNERS = Table(
    "ILSVRC, top-5 error on the test set in percent, ensembles",
    ("", "VGG, 2014", "GoogLeNet, 2014", "PReLU-net", "BN-inception", "ResNet, 2015"),
    (("top-5 error", "7.32", "6.66", "4.94", "4.82", "3.57"),),
)
DETECTION = Table(
    "Faster R-CNN on COCO, validation set, trained on the training set: mean average precision",
    ("network", "at IoU 0.5", "at IoU 0.5 to 0.95"),
    (("VGG-16", "41.5", "21.2"), ("ResNet-101", "48.4", "27.2")),
)
DEGRADATION = Table(
    "ImageNet, validation set, 10 crops: top-1 error in percent",
    ("layers", "plain", "ResNet"),
    (("18", "27.94", "27.88"), ("34", "28.54", "25.03")),
)
CIFAR = Table(
    "CIFAR-10, test error in percent",
    ("network", "parameters", "test error"),
    (
        ("ResNet-20", "0.27 M", "8.75"),
        ("ResNet-32", "0.46 M", "7.51"),
        ("ResNet-44", "0.66 M", "7.17"),
        ("ResNet-56", "0.85 M", "6.97"),
        ("ResNet-110", "1.7 M", "6.43 (6.61 ± 0.16, five runs)"),
        ("ResNet-1202", "19.4 M", "7.93"),
    ),
)
PREACTIVATION = Table(
    "CIFAR-10, test error in percent, median of five runs",
    ("network", "original unit", "pre-activation"),
    (
        ("ResNet-110", "6.61", "6.37"),
        ("ResNet-164", "5.93", "5.46"),
        ("ResNet-1001", "7.61", "4.92"),
    ),
)
DENSENETS = Table(
    "ImageNet, validation set, single crop: error in percent",
    ("network", "top-1", "top-5"),
    (
        ("DenseNet-121", "25.02", "7.71"),
        ("DenseNet-169", "23.80", "6.85"),
        ("DenseNet-201", "22.58", "6.34"),
        ("DenseNet-264", "22.15", "6.12"),
    ),
)
FLOPS = {18: "1.8e9", 34: "3.6e9", 50: "3.8e9", 101: "7.6e9", 152: "11.3e9"}  # Table 1

REFERENCES = (
    f"He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. {HE15}",
    f"He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks. {HE16}",
    f"Li, Xu, Taylor, Studer, Goldstein: Visualizing the Loss Landscape of Neural Nets. {LI}",
    f"Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks. {HUANG}",
    "Veit, Wilber, Belongie: Residual Networks Behave Like Ensembles of Relatively Shallow "
    f"Networks. {VEIT}",
    "Yang, Pennington, Rao, Sohl-Dickstein, Schoenholz: A Mean Field Theory of Batch "
    "Normalization. Yang et al. 2019, arXiv 1902.08129",
    "Xie, Girshick, Dollár, Tu, He: Aggregated Residual Transformations for Deep Neural "
    f"Networks. {XIE}",
)
