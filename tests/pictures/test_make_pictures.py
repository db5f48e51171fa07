"""`main.py picture`: every kind, with tiny untrained networks."""

import re

import numpy as np
import pytest
from PIL import Image

from dino_tf.errors import UserError
from dino_tf.kinds import KINDS, find_kind
from dino_tf.models.backbones import create_backbone
from dino_tf.pictures import make_pictures
from dino_tf.pictures.gallery import gallery_page
from dino_tf.pictures.of_data import without_itself
from dino_tf.pictures.of_network import (
    attention_distances,
    first_kernel,
    position_vectors,
)
from dino_tf.pictures.request import Photos, find_photos

NO_ATTENTION = ["heads", "overlay", "layers", "distance", "positions"]


def silent(line):
    """Shows nothing."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run folder that holds nothing but a tiny ViT."""
    folder = tmp_path_factory.mktemp("run")
    sizes = {"embed_dim": 12, "depth": 2, "num_heads": 2}
    create_backbone("vit_tiny", 8, 32, **sizes).save(folder / "backbone.keras")
    return folder


@pytest.fixture(scope="module")
def xcit(tmp_path_factory):
    """File of a tiny XCiT."""
    file = tmp_path_factory.mktemp("xcit") / "small.keras"
    sizes = {"embed_dim": 16, "depth": 1, "num_heads": 2}
    create_backbone("xcit_small_12", 8, 32, **sizes).save(file)
    return file


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """File of a tiny ResNet."""
    file = tmp_path_factory.mktemp("resnet") / "small.keras"
    create_backbone("resnet50", stages=(1, 1), width=4).save(file)
    return file


@pytest.fixture
def photos(tmp_path):
    """Folder of two classes of three photos each, and a broken one."""
    draw, folder = np.random.default_rng(0), tmp_path / "photos"
    for name in ("cat/a.png", "cat/b.png", "cat/c.png", "dog/a.png", "dog/d.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 255, (40, 60, 3)).astype("uint8")
        Image.fromarray(pixels).save(folder / name)
    (folder / "dog" / "e.png").write_bytes(b"no photo")
    return folder


@pytest.mark.parametrize("kind", ["heads", "overlay", "layers"])
def test_a_sheet_of_every_photo(run, photos, tmp_path, kind):
    said, out = [], tmp_path / "out"
    options = {"paths": [photos / "dog", photos / "cat" / "a.png"], "size": 32}
    written = make_pictures(kind, run, out, options, say=said.append)
    assert written == [out / kind / f"{name}.png" for name in ("a", "d", "a~2")]
    assert all(path.is_file() for path in written)
    assert said[0].startswith("1 unreadable, passed over: e.png (")
    assert said[1:] == [f"{i}/3 {path}" for i, path in enumerate(written, 1)]


def test_components_are_kept_for_other_photos(run, photos, tmp_path):
    basis, out = tmp_path / "basis.npz", tmp_path / "out"
    both = [photos / "cat" / "a.png", photos / "dog" / "d.png"]
    options = {"paths": both, "size": 32, "save": str(basis)}
    written = make_pictures("components", run, out, options, say=silent)
    singles = out / "components"
    assert written == [out / "components.png", singles / "a.png", singles / "d.png"]
    first = (singles / "a.png").read_bytes()
    # Alone, with the saved components, a photo is painted as it was; without, anew.
    alone = {"paths": both[:1], "size": 32}
    make_pictures("components", run, out, {**alone, "use": str(basis)}, say=silent)
    assert (singles / "a.png").read_bytes() == first
    make_pictures("components", run, out, alone, say=silent)
    assert (singles / "a.png").read_bytes() != first
    with pytest.raises(UserError, match="--save: got .*basis.npz, allowed: a new .npz"):
        make_pictures("components", run, out, options)
    with pytest.raises(UserError, match="--use: got with --save or --foreground"):
        wrong = {**alone, "use": str(basis), "foreground": True}
        make_pictures("components", run, out, wrong)


def test_components_do_not_depend_on_what_is_kept(run, photos, tmp_path, monkeypatch):
    pictures = []
    for kept in (1 << 30, 0):
        monkeypatch.setattr("dino_tf.pictures.of_photos.KEPT", kept)
        options = {"paths": [photos], "size": 32, "foreground": True}
        out = tmp_path / str(kept)
        written = make_pictures("components", run, out, options, say=silent)
        pictures.append([path.read_bytes() for path in written])
    assert pictures[0] == pictures[1] and len(pictures[0]) == 6


def test_pictures_of_the_network(run, photos, tmp_path):
    options = {"data": str(photos), "count": 3, "size": 32}
    assert make_pictures("distance", run, options=options, say=silent) == [
        run / "pictures" / "distance.png"
    ]
    for kind in ("positions", "filters"):
        (path,) = make_pictures(kind, run, tmp_path, say=silent)
        assert path == tmp_path / f"{kind}.png" and path.is_file()


def test_untrained_networks_are_the_same_each_time(tmp_path):
    pictures = []
    for name in "ab":
        (path,) = make_pictures(
            "filters", "random:resnet50", tmp_path / name, say=silent
        )
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1]


def test_distances_of_a_network_that_looks_everywhere_alike():
    vit = create_backbone("vit_tiny", 8, 16, embed_dim=12, depth=2, num_heads=2)
    for block in vit.blocks:
        block.attn.qkv.kernel.assign(0 * block.attn.qkv.kernel)
        block.attn.qkv.bias.assign(0 * block.attn.qkv.bias)
    images = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype("float32")
    found = attention_distances(vit, images)
    # On a 2 x 2 grid: 0, 1, 1 and the root of 2 patches of 8 pixels.
    expected = np.full((3, 2, 2), 8 * (2 + np.sqrt(2)) / 4)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_neighbours_and_map_of_a_data_set(run, photos, tmp_path):
    told = []
    options = {"data": str(photos), "size": 32, "count": 2, "cache": "none"}
    (sheet,) = make_pictures(
        "neighbours", run, tmp_path, {**options, "k": 9}, say=told.append
    )
    # Five readable photos: four neighbours beside each.
    assert Image.open(sheet).width == 5 * 168 + 6 * 14
    assert told[0] == "1 photos of photos cannot be read: passed over"
    own = {**options, "paths": [photos / "cat" / "a.png"], "k": 2}
    (sheet,) = make_pictures("neighbours", run, tmp_path, own, say=silent)
    assert Image.open(sheet).width == 3 * 168 + 4 * 14
    plain = {**options, "count": 6, "method": "pca", "thumbnails": True}
    (path,) = make_pictures("map", run, tmp_path, plain, say=silent)
    assert path == tmp_path / "map.png" and Image.open(path).size == (1680, 1280)


def test_no_photo_is_its_own_neighbour():
    features = np.eye(4)[[0, 0, 0, 1, 2]]
    similarities, indices = without_itself(features, np.array([2, 3]), 2)
    assert indices.tolist() == [[0, 1], [0, 1]]
    assert similarities.tolist() == [[1, 1], [0, 0]]
    # Of many equal ones it may not even be among the nearest.
    _, indices = without_itself(np.ones((9, 1)), np.array([8]), 2)
    assert indices.tolist() == [[0, 1]]
    assert without_itself(features, np.array([0]), 99)[1].shape == (1, 4)
    with pytest.raises(UserError, match="1 photo has no neighbours"):
        without_itself(features[:1], np.array([0]), 1)


def test_positions_of_networks():
    vit = create_backbone("vit_tiny", 8, (16, 24), embed_dim=12, depth=1, num_heads=2)
    vectors = position_vectors(vit)
    np.testing.assert_array_equal(vectors[1, 2], vit.pos_embed[0, -1])
    assert vectors.shape == (2, 3, 12)
    xcit = create_backbone("xcit_small_12", 8, embed_dim=16, depth=1, num_heads=2)
    assert position_vectors(xcit).shape == (14, 14, 16)
    # Two patches of a row have the same waves along it.
    waves = position_vectors(xcit) - np.asarray(
        xcit.pos_embeder(np.zeros((1, 1, 1, 16)))
    )
    assert np.abs(waves).max() > 0.1


def test_first_layers_of_networks(resnet):
    vit = create_backbone("vit_tiny", 8, 32, embed_dim=12, depth=1, num_heads=2)
    kernel = first_kernel(vit)
    np.testing.assert_array_equal(kernel, vit.patch_embed.proj.kernel)
    convolution = create_backbone("resnet50", stages=(1,), width=4)
    np.testing.assert_array_equal(first_kernel(convolution), convolution.conv1.kernel)


LACKING = [
    (
        "heads",
        "resnet",
        r"small.keras \(ResNet\) has no attention to draw; allowed for",
    ),
    ("overlay", "resnet", "no attention to draw; .* picture components, filters"),
    ("layers", "resnet", "no attention among patches in its blocks; .*components"),
    ("layers", "xcit", r"\(XCiT\) has no attention among patches.*: picture heads"),
    ("distance", "xcit", "no attention among patches in its blocks"),
    ("positions", "resnet", "has no position embeddings; allowed for it: picture filt"),
]


@pytest.mark.parametrize(("kind", "weights", "words"), LACKING)
def test_networks_that_lack_it(request, photos, tmp_path, kind, weights, words):
    options = {} if kind == "positions" else {"paths": [photos]}
    source = request.getfixturevalue(weights)
    with pytest.raises(UserError, match=words):
        make_pictures(kind, source, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_rotary_positions_are_named(tmp_path):
    vit = create_backbone(
        "vit_tiny", 8, embed_dim=12, depth=1, num_heads=3, rope_periods=(1.0,)
    )
    vit.save(tmp_path / "rotary.keras")
    with pytest.raises(UserError, match="its positions are rotary"):
        make_pictures("positions", tmp_path / "rotary.keras", tmp_path)


def test_networks_without_a_table_or_patches_give_what_they_have(
    xcit, resnet, tmp_path
):
    for kind, weights in (("filters", resnet), ("filters", xcit), ("positions", xcit)):
        (path,) = make_pictures(kind, weights, tmp_path / weights.stem, say=silent)
        assert path.is_file()


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("head", {}, "picture: got 'head', allowed: heads, overlay, layers"),
        ("positions", {"size": 3}, "picture positions: got size, allowed: none"),
        ("heads", {}, "photos: got neither PATH and --data, allowed: one of the two"),
        ("heads", {"paths": ["x"], "data": "scenes"}, "photos: got both"),
        ("heads", {"paths": ["x.jpg"]}, "no such photo or folder: x.jpg"),
        ("heads", {"data": "scenes", "count": 0}, "--count: got 0, allowed: 1 or more"),
        ("heads", {"data": "scenes:9", "keep_mass": 2.0}, "keep_mass is 2.0; allowed"),
        ("heads", {"data": "scenes:9", "size": 2}, "size is 2; allowed: at least one"),
        ("distance", {"data": "scenes", "size": 12}, "--size: got 12; image size"),
        ("neighbours", {"data": "scenes:9", "k": 0}, "--k, --count: got 0, 8"),
        ("filters", {"count": 0}, "count is 0; allowed"),
        (
            "components",
            {"data": "scenes:9", "use": "x.npz"},
            "x.npz is no .npz file of",
        ),
    ],
)
def test_wrong_options(run, tmp_path, kind, options, words):
    with pytest.raises(UserError, match=words):
        make_pictures(kind, run, tmp_path / "out", options, say=silent)


def test_originals_are_never_overwritten(run, tmp_path):
    (tmp_path / "heads").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "heads" / "a.png")
    before = (tmp_path / "heads" / "a.png").read_bytes()
    options = {"paths": [tmp_path / "heads"], "size": 16}
    with pytest.raises(UserError, match="a.png is a photo that a picture would"):
        make_pictures("heads", run, tmp_path, options)
    assert (tmp_path / "heads" / "a.png").read_bytes() == before
    with pytest.raises(UserError, match="a.png is a file, allowed: a folder"):
        make_pictures("heads", run, tmp_path / "heads" / "a.png", options)


def test_every_photo_has_a_file_name_of_its_own(tmp_path):
    for name in ("x/p.png", "x/p.bmp", "x/P.gif", "y/p.q.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    stems = Photos(find_photos((), str(tmp_path)), silent).stems
    assert stems == ["x-P", "x-p~2", "x-p~3", "y-p.q"]


def test_nothing_readable(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no photo")
    with pytest.raises(UserError, match="none of 1 photos can be read: a.png"):
        Photos(find_photos([tmp_path]), silent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no photos in the folder .*empty"):
        find_photos([tmp_path / "empty"])


def test_kinds_name_what_they_take():
    for name, kind in KINDS.items():
        assert find_kind(name) is kind and len(kind.about) < 90
        code = kind.load().__code__
        taken = set(code.co_varnames[1 : code.co_argcount])
        assert taken == set(kind.defaults()), name


def test_gallery_shows_what_the_network_has(run, resnet, photos, tmp_path):
    for network, lacking in ((run, []), (resnet, NO_ATTENTION)):
        said, out = [], tmp_path / str(len(lacking))
        options = {"data": str(photos), "cache": "none", "count": 2}
        written = make_pictures("gallery", network, out, options, say=said.append)
        without = [line for line in said if line.startswith("without ")]
        assert [line.split()[1].rstrip(":") for line in without] == lacking
        page = (out / "gallery.html").read_text()
        assert (
            written[0] == out / "gallery.html" and f"all of them: {written[0]}" in said
        )
        for kind in set(KINDS) - {*lacking, "gallery"}:
            assert page.count(f"<h2>{kind}</h2>") == 1
        links = re.findall("<img src='([^']+)'", page)
        assert all((out / link).is_file() for link in links)
        assert "map.png" in links and "components.png" in links
        assert len([link for link in links if link.startswith("heads/")]) == (
            0 if lacking else 2
        )


def test_gallery_of_no_data_and_names_with_marks(run, tmp_path):
    with pytest.raises(UserError, match="nothing"):
        make_pictures("gallery", run, tmp_path, {"data": "nothing"}, say=silent)
    page = gallery_page("<b>", [("map", "a & b", [tmp_path / "x'<i>.png"])], tmp_path)
    assert "<b>" not in page and "a &amp; b" in page and "x%27%3Ci%3E.png" in page
