"""The benchmarks, one record each, in the order of the published tables.

To add a benchmark, add a record here, a dataset in ``configs/_base_/datasets/NAME.py``, and a
config per method, ``configs/METHOD/METHOD_BACKBONE_NAME.py``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """A file published by a benchmark's authors.

    Attributes:
        name: File name.
        page: Web page of the file.
        url: Download address for ``--download``; None if it must be downloaded by hand.
        login: Whether the page requires a login.
        digest: Published MD5 or SHA-256 in hexadecimal digits; None if unknown.
        url_digest: SHA-1 of the file at ``url`` according to other programs. Only downloads are
            compared with it, since an archive that was repacked may differ.
    """

    name: str
    page: str
    url: str | None = None
    digest: str | None = None
    login: bool = False
    url_digest: str | None = None


@dataclass(frozen=True)
class Benchmark:
    """Record of a benchmark.

    Attributes:
        name: Name in the names of configs and in ``configs/published.yml``.
        title: Full name.
        column: Heading in tables of published numbers.
        dataset: Name of the dataset class in mmseg's registry.
        queries: Name of the official query list.
        images: Published numbers of images of the evaluation split; empty if unknown.
        archives: Published files, in the order that the converter expects.
        converter: Name of the converter in :mod:`.preparation.converters`, or ``pascal_context``;
            empty if users prepare the files themselves.
        page: Web page of the files, if there is no converter.
        group: Group of the benchmark; empty for those of the papers' tables, which are evaluated
            and prepared by default.
    """

    name: str
    title: str
    column: str
    dataset: str
    queries: str
    images: tuple[int, ...] = ()
    archives: tuple[Archive, ...] = ()
    converter: str = ''
    page: str = ''
    group: str = ''

    def compare_count(self, count: int) -> str:
        """Describe how a number of images differs from the published one; empty if it does not."""
        if not self.images or count in self.images:
            return ''
        return f'{count} images, the published split has {" or ".join(map(str, self.images))}'


_VOC2012 = Archive(
    'VOCtrainval_11-May-2012.tar',
    page='http://host.robots.ox.ac.uk/pascal/VOC/voc2012/',
    url='https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar',
    digest='6cd6e144f989b92b3379bac3b3de84fd',
)
_CONTEXT_PAGE = 'https://cs.stanford.edu/~roozbeh/pascal-context/'
_CONTEXT = (
    Archive(
        'VOCtrainval_03-May-2010.tar',
        page='http://host.robots.ox.ac.uk/pascal/VOC/voc2010/',
        url='https://thor.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar',
        digest='da459979d0c395079b5c75ee67908abb',
    ),
    Archive(
        'trainval_merged.json',
        page='https://github.com/zhanghang1989/detail-api',
        url='https://codalabuser.blob.core.windows.net/public/trainval_merged.json',
        url_digest='169325d9f7e9047537fedca7b04de4dddf10b881',  # GluonCV's
    ),
    Archive('59_context_labels.tar.gz', page=_CONTEXT_PAGE),
    Archive('trainval.tar.gz', page=_CONTEXT_PAGE),
    Archive('59_labels.txt', page=_CONTEXT_PAGE),
)
_COCO = (
    Archive(
        'val2017.zip',
        page='https://cocodataset.org/#download',
        # The bucket of images.cocodataset.org, whose certificate does not match that name.
        url='https://s3.amazonaws.com/images.cocodataset.org/zips/val2017.zip',
        digest='4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05',
    ),
    Archive(
        'stuffthingmaps_trainval2017.zip',
        page='https://github.com/nightrome/cocostuff#downloads',
        url='https://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/'
        'stuffthingmaps_trainval2017.zip',
    ),
)
_MANY = 'many classes'
_CITYSCAPES_PAGE = 'https://www.cityscapes-dataset.com/downloads/'
_REMOTE = 'remote sensing'

#: Datasets of MESS: key → title and page.
_MESS = {
    'mhp_v1': ('MHP v1', 'https://github.com/ZhaoJ9014/Multi-Human-Parsing'),
    'foodseg': ('FoodSeg103', 'https://xiongweiwu.github.io/foodseg103.html'),
    'bdd100k': ('BDD100K', 'https://bdd-data.berkeley.edu'),
    'dark_zurich': ('Dark Zurich', 'https://www.trace.ethz.ch/publications/2019/GCMA_UIoU/'),
    'atlantis': ('ATLANTIS', 'https://github.com/smhassanerfani/atlantis'),
    'dram': ('DRAM', 'https://faculty.runi.ac.il/arik/site/artseg/Dram-Dataset.html'),
    'isaid': ('iSAID', 'https://captain-whu.github.io/iSAID/dataset.html'),
    'isprs_potsdam': (
        'ISPRS Potsdam',
        'https://www.isprs.org/education/benchmarks/UrbanSemLab/default.aspx',
    ),
    'worldfloods': (
        'WorldFloods',
        'https://spaceml-org.github.io/ml4floods/content/worldfloods_dataset.html',
    ),
    'floodnet': ('FloodNet', 'https://github.com/BinaLab/FloodNet-Supervised_v1.0'),
    'uavid': ('UAVid', 'https://uavid.nl'),
    'kvasir_instrument': ('Kvasir-Instrument', 'https://datasets.simula.no/kvasir-instrument/'),
    'chase_db1': ('CHASE DB1', 'https://blogs.kingston.ac.uk/retinal/chasedb1/'),
    'cryonuseg': (
        'CryoNuSeg',
        'https://www.kaggle.com/datasets/ipateam/segmentation-of-nuclei-in-cryosectioned-he-images',
    ),
    'paxray_lungs': ('PAXRay-4, lungs', 'https://constantinseibold.github.io/paxray/'),
    'paxray_mediastinum': ('PAXRay-4, mediastinum', 'https://constantinseibold.github.io/paxray/'),
    'paxray_bones': ('PAXRay-4, bones', 'https://constantinseibold.github.io/paxray/'),
    'paxray_diaphragm': ('PAXRay-4, diaphragm', 'https://constantinseibold.github.io/paxray/'),
    'corrosion_cs': (
        'Corrosion CS',
        'https://figshare.com/articles/dataset/Corrosion_Condition_State_Semantic_Segmentation_Dataset/16624663',
    ),
    'deepcrack': ('DeepCrack', 'https://github.com/yhlleo/DeepCrack'),
    'pst900': ('PST900', 'https://github.com/ShreyasSkandanS/pst900_thermal_rgb'),
    'zerowaste': ('ZeroWaste-f', 'https://github.com/dbash/zerowaste'),
    'suim': ('SUIM', 'https://irvlab.cs.umn.edu/resources/suim-dataset'),
    'cub_200': ('CUB-200', 'https://www.vision.caltech.edu/datasets/cub_200_2011/'),
    'cwfid': ('CWFID', 'https://github.com/cwfid/dataset'),
}

_RECORDS = (
    Benchmark(
        name='voc21',
        title='PASCAL VOC 2012, 21 classes',
        column='VOC21',
        dataset='PascalVOCDataset',
        images=(1449,),
        queries='voc21',
        archives=(_VOC2012,),
        converter='voc2012',
    ),
    Benchmark(
        name='context60',
        title='PASCAL Context, 60 classes',
        column='Context60',
        dataset='PascalContextDataset',
        images=(5104, 5105),  # by the JSON annotation, by the MATLAB files
        queries='context60',
        archives=_CONTEXT,
        converter='pascal_context',
    ),
    Benchmark(
        name='coco_object',
        title='COCO-Object',
        column='COCO-Object',
        dataset='COCOObjectDataset',
        images=(5000,),
        queries='coco_object',
        archives=_COCO,
        converter='coco_object',
    ),
    Benchmark(
        name='voc20',
        title='PASCAL VOC 2012, 20 classes',
        column='VOC20',
        dataset='PascalVOC20Dataset',
        images=(1449,),
        queries='voc20',
        archives=(_VOC2012,),
        converter='voc2012',
    ),
    Benchmark(
        name='context59',
        title='PASCAL Context, 59 classes',
        column='Context59',
        dataset='PascalContextDataset59',
        images=(5104, 5105),
        queries='context59',
        archives=_CONTEXT,
        converter='pascal_context',
    ),
    Benchmark(
        name='coco_stuff164k',
        title='COCO-Stuff 164k',
        column='COCO-Stuff',
        dataset='COCOStuffDataset',
        images=(5000,),
        queries='coco_stuff',
        archives=_COCO,
        converter='coco_stuff164k',
    ),
    Benchmark(
        name='coco_stuff10k',
        title='COCO-Stuff 10k',
        column='COCO-Stuff 10k',
        dataset='COCOStuffDataset',
        images=(1000,),
        queries='coco_stuff',
        archives=(
            Archive(
                'cocostuff-10k-v1.1.zip',
                page='https://github.com/nightrome/cocostuff10k#download',
                url='https://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/'
                'cocostuff-10k-v1.1.zip',
            ),
        ),
        converter='coco_stuff10k',
    ),
    Benchmark(
        name='cityscapes',
        title='Cityscapes',
        column='Cityscapes',
        dataset='CityscapesDataset',
        images=(500,),
        queries='cityscapes',
        archives=(
            Archive('leftImg8bit_trainvaltest.zip', page=_CITYSCAPES_PAGE, login=True),
            Archive('gtFine_trainvaltest.zip', page=_CITYSCAPES_PAGE, login=True),
        ),
        converter='cityscapes',
    ),
    Benchmark(
        name='ade20k',
        title='ADE20K',
        column='ADE20K',
        dataset='ADE20KDataset',
        images=(2000,),
        queries='ade20k',
        archives=(
            Archive(
                'ADEChallengeData2016.zip',
                page='http://sceneparsing.csail.mit.edu/',
                url='https://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip',
                url_digest='219e1696abb36c8ba3a3afe7fb2f4b4606a897c7',  # GluonCV's
            ),
        ),
        converter='ade20k',
    ),
    Benchmark(
        name='ade847',
        title='ADE20K, 847 classes',
        column='ADE20K-847',
        dataset='FolderDataset',
        images=(2000,),
        queries='ade847',
        page='https://groups.csail.mit.edu/vision/datasets/ADE20K/',
        group=_MANY,
    ),
    Benchmark(
        name='context459',
        title='PASCAL Context, 459 classes',
        column='Context459',
        dataset='FolderDataset',
        images=(5104, 5105),
        queries='context459',
        page=_CONTEXT_PAGE,
        group=_MANY,
    ),
    *(
        Benchmark(
            name=f'mess_{key}',
            title=f'MESS, {title}',
            column=f'MESS {title}',
            dataset='FolderDataset',
            queries=f'mess_{key}',
            page=page,
            group='MESS',
        )
        for key, (title, page) in _MESS.items()
    ),
    Benchmark(
        name='openearthmap',
        title='OpenEarthMap',
        column='OpenEarthMap',
        dataset='OpenEarthMapDataset',
        queries='openearthmap',
        page='https://open-earth-map.org/',
        group=_REMOTE,
    ),
    Benchmark(
        name='loveda',
        title='LoveDA',
        column='LoveDA',
        dataset='LoveDADataset',
        images=(1669,),
        queries='loveda',
        page='https://github.com/Junjue-Wang/LoveDA',
        group=_REMOTE,
    ),
    Benchmark(
        name='isaid',
        title='iSAID',
        column='iSAID',
        dataset='iSAIDDataset',
        images=(11644,),
        queries='isaid',
        page='https://captain-whu.github.io/iSAID/dataset.html',
        group=_REMOTE,
    ),
    Benchmark(
        name='potsdam',
        title='ISPRS Potsdam',
        column='Potsdam',
        dataset='PotsdamDataset',
        images=(2016,),
        queries='potsdam',
        page='https://www.isprs.org/education/benchmarks/UrbanSemLab/2d-sem-label-potsdam.aspx',
        group=_REMOTE,
    ),
    Benchmark(
        name='vaihingen',
        title='ISPRS Vaihingen',
        column='Vaihingen',
        dataset='ISPRSDataset',
        images=(398,),
        queries='vaihingen',
        page='https://www.isprs.org/education/benchmarks/UrbanSemLab/2d-sem-label-vaihingen.aspx',
        group=_REMOTE,
    ),
    Benchmark(
        name='uavid',
        title='UAVid',
        column='UAVid',
        dataset='UAVidDataset',
        queries='uavid',
        page='https://www.uavid.nl/#download',
        group=_REMOTE,
    ),
    Benchmark(
        name='udd5',
        title='UDD5',
        column='UDD5',
        dataset='UDD5Dataset',
        queries='udd5',
        page='https://github.com/MarcWong/UDD',
        group=_REMOTE,
    ),
    Benchmark(
        name='vdd',
        title='VDD',
        column='VDD',
        dataset='VDDDataset',
        queries='vdd',
        page='https://github.com/RussRobin/VDD',
        group=_REMOTE,
    ),
    Benchmark(
        name='whu_aerial',
        title='WHU Building, aerial',
        column='WHU Aerial',
        dataset='BuildingMaskDataset',
        queries='rs_building',
        page='https://gpcv.whu.edu.cn/data/building_dataset.html',
        group=_REMOTE,
    ),
    Benchmark(
        name='whu_sat_ii',
        title='WHU Building, satellite II (East Asia)',
        column='WHU Sat. II',
        dataset='BuildingMaskDataset',
        queries='rs_building',
        page='https://gpcv.whu.edu.cn/data/building_dataset.html',
        group=_REMOTE,
    ),
    Benchmark(
        name='inria',
        title='Inria Aerial Image Labeling',
        column='Inria',
        dataset='BuildingMaskDataset',
        images=(675,),
        queries='rs_building',
        page='https://project.inria.fr/aerialimagelabeling/',
        group=_REMOTE,
    ),
    Benchmark(
        name='xbd',
        title='xBD, before the disaster',
        column='xBD pre',
        dataset='BuildingMaskDataset',
        queries='rs_building',
        page='https://github.com/michal2409/xView2',
        group=_REMOTE,
    ),
    Benchmark(
        name='chn6_cug',
        title='CHN6-CUG',
        column='CHN6-CUG',
        dataset='RoadMaskDataset',
        queries='rs_road',
        page='https://grzy.cug.edu.cn/zhuqiqi/zh_CN/yjgk/32368/list/index.htm',
        group=_REMOTE,
    ),
    Benchmark(
        name='deepglobe_road',
        title='DeepGlobe roads',
        column='DeepGlobe',
        dataset='RoadMaskDataset',
        images=(1530,),
        queries='rs_road',
        page='https://github.com/xiaoyan07/GRNet_GRSet',
        group=_REMOTE,
    ),
    Benchmark(
        name='massachusetts_road',
        title='Massachusetts roads',
        column='Massachusetts',
        dataset='RoadMaskDataset',
        images=(49,),
        queries='rs_road',
        page='https://github.com/xiaoyan07/GRNet_GRSet',
        group=_REMOTE,
    ),
    Benchmark(
        name='spacenet_road',
        title='SpaceNet roads',
        column='SpaceNet',
        dataset='RoadMaskDataset',
        images=(567,),
        queries='rs_road',
        page='https://github.com/xiaoyan07/GRNet_GRSet',
        group=_REMOTE,
    ),
    Benchmark(
        name='wbs_si',
        title='Water Body Segmentation in Satellite Images',
        column='WBS-SI',
        dataset='WaterMaskDataset',
        images=(499,),
        queries='rs_water',
        page='https://www.kaggle.com/datasets/shirshmall/water-body-segmentation-in-satellite-images',
        group=_REMOTE,
    ),
)
#: Name → record.
BENCHMARKS: dict[str, Benchmark] = {record.name: record for record in _RECORDS}


def usual_benchmarks() -> list[str]:
    """Names of the benchmarks that are used by default."""
    return [name for name, record in BENCHMARKS.items() if not record.group]
