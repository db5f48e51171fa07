"""The automatic recipe, its reasons, and the contradictions it refuses."""

import pytest

from dino_tf import checks, settings
from dino_tf.config import Config
from dino_tf.errors import UserError
from dino_tf.presets import apply_preset
from dino_tf.recipe import (
    BATCH_RULES,
    FIRST_RULES,
    RULES,
    Facts,
    Network,
    choose_preset,
    describe,
    num_replicas,
    resolve,
    to_yaml,
)
from dino_tf.recipe_learning import FEW_PHOTOS, FEW_UPDATES
from dino_tf.recipe_memory import gigabytes_per_photo

VOC = Facts(num_photos=5011, num_cores=2)
GPU = Facts(5011, num_gpus=1, gpu_name="A100", compute_capability=(8, 0))
IMAGENET = Facts(1_281_167, num_gpus=8, compute_capability=(8, 0), gpu_memory_gb=40)

MUON = {"optimizer.name", "optimizer.muon_query_key"}  # of the recipe for few photos
ALONE = {"loss.koleo_weight", "loss.centering"}  # of it, of no use to one photo


def resolved(facts=VOC, **values):
    keys = {key.replace("__", "."): value for key, value in values.items()}
    return resolve(Config.from_dict(keys), facts)[0]


def refused(facts=VOC, **values):
    with pytest.raises(UserError) as caught:
        resolved(facts, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("photos", "out_dim"),
    [(100, 256), (1792, 2048), (5011, 4096), (50_000, 65536), (1_281_167, 65536)],
)
def test_prototypes_follow_the_number_of_photos(photos, out_dim):
    assert resolved(Facts(photos)).head.out_dim == out_dim


@pytest.mark.parametrize(
    ("photos", "batch", "epochs", "momentum"),
    [
        (1_281_167, 1024, 100, 0.996),
        (1_281_167, 256, 100, 0.9995),
        (5011, 64, 100, 0.9936),
        (1792, 64, 30, 0.98),
    ],
)
def test_teacher_momentum(photos, batch, epochs, momentum):
    config = resolved(Facts(photos), pipeline__batch_size=batch, run__epochs=epochs)
    assert config.optimizer.teacher_momentum == momentum


def test_teacher_momentum_starts_no_higher_than_the_end_that_is_asked_for():
    asked = {"optimizer.teacher_momentum_end": 0.9}
    config, reasons = resolve(Config.from_dict(asked), Facts(1792))
    assert config.optimizer.teacher_momentum == 0.9
    assert reasons["optimizer.teacher_momentum"].startswith("that of optimizer.teac")


def test_few_photos_keep_the_teacher_sharp():
    loss = resolved(run__recipe="published").loss
    assert (loss.teacher_temp, loss.warmup_teacher_temp_epochs) == (0.04, 0)
    loss = resolved(run__recipe="few_photos").loss
    assert (loss.warmup_teacher_temp, loss.teacher_temp) == (0.02, 0.02)


def few_of(config):
    """The keys of the recipe for few photos that have its value."""
    return {
        key
        for key, (value, _) in FEW_PHOTOS.items()
        if settings.value_of(config, key) == value
    }


def test_teacher_of_few_photos_follows_soon():
    # 20,000 updates of 16 photos, of which a fiftieth would be 400.
    config = resolved(Facts(20_000), run__epochs=16, pipeline__batch_size=16)
    assert config.run.recipe == "few_photos"
    assert config.optimizer.teacher_momentum == 0.995


def test_recipe_follows_the_photos_seen():
    last = FEW_UPDATES * 64 // 2000
    config, reasons = resolve(Config.from_dict({"run.epochs": last}), Facts(2000))
    assert config.run.recipe == "few_photos" and few_of(config) == set(FEW_PHOTOS)
    assert "photos seen" in reasons["run.recipe"]
    assert all(reasons[key].startswith("few photos: ") for key in FEW_PHOTOS)
    # The published blur is for 224 pixels.
    assert config.views.blur_sigma == (0.1, 2.0)
    small = resolved(Facts(2000), views__global_size=112, run__epochs=last)
    assert small.views.blur_sigma == (0.05, 1.0)
    config, reasons = resolve(Config.from_dict({"run.epochs": last + 1}), Facts(2000))
    assert config.run.recipe == "published" and not few_of(config)
    assert not set(FEW_PHOTOS) & set(reasons)
    assert not few_of(resolved(IMAGENET))
    assert few_of(resolved(IMAGENET, run__recipe="few_photos")) == set(FEW_PHOTOS)
    assert not few_of(resolved(run__epochs=1, run__recipe="published"))


def test_weights_of_a_run_of_few_photos_go_on_by_its_recipe():
    from_few = Facts(2000, init_recipe="few_photos")
    config = resolved(from_few, init="run", run__epochs=1)
    assert config.run.recipe == "few_photos"
    assert few_of(config) == set(FEW_PHOTOS) - {"head.use_bn"}
    many = FEW_UPDATES * 64 // 2000 + 1
    assert resolved(from_few, init="run", run__epochs=many).run.recipe == "published"


@pytest.mark.parametrize(
    ("facts", "values"),
    [
        (Facts(2000), {"init": "dino_vits16"}),
        (Facts(2000, init_recipe="published"), {"init": "run"}),
        (Facts(2000, network=Network(1e6, True)), {"model.arch": "resnet50"}),
        (Facts(2000, num_tpu_cores=8), {"run.strategy": "tpu"}),
    ],
)
def test_recipe_for_few_photos_is_for_what_it_was_measured_on(facts, values):
    config, reasons = resolve(Config.from_dict({**values, "run.epochs": 1}), facts)
    assert config.run.recipe == "published" and not few_of(config)
    assert reasons["run.recipe"]


@pytest.mark.parametrize(
    ("facts", "values", "left"),
    [
        (VOC, {"loss.koleo_weight": 0.0}, {"loss.koleo_weight"}),
        (VOC, {"loss.center_momentum": 0.5}, {"loss.centering"}),
        (VOC, {"loss.teacher_temp": 0.07}, {"loss.warmup_teacher_temp"}),
        (
            VOC,
            {"optimizer.teacher_momentum": 0.999},
            {"optimizer.teacher_momentum_end"},
        ),
        (VOC, {"loss.ibot_weight": 1.0}, {"head.use_bn"}),
        (Facts(1), {}, ALONE),
        (Facts(5011, memory_gb=1.0), {}, ALONE),
        (VOC, {"optimizer.name": "lars"}, MUON),
        (VOC, {"optimizer.name": "adamw"}, MUON),
        (VOC, {"optimizer.name": "muon"}, set()),
        (VOC, {"loss.histogram_weight": 0.0}, {"loss.histogram_weight"}),
        (
            Facts(5011, network=Network(1e6, True)),
            {"model.arch": "resnet50", "run.recipe": "few_photos"},
            MUON | {"model.drop_path_rate", "loss.histogram_weight"},
        ),
        (
            VOC,
            {
                "model.patch_size": 15,
                "views.global_size": 60,
                "views.local_size": 30,
            },
            {"loss.histogram_weight"},
        ),
        (VOC, {"init": "run", "run.recipe": "few_photos"}, {"head.use_bn"}),
        (VOC, {"optimizer.freeze_blocks": 9}, {"loss.histogram_weight"}),
        (VOC, {"optimizer.freeze_blocks": 8}, set()),
        (VOC, {"model.depth": 1}, set()),
        (VOC, {"views.num_local": 0}, {"views.global_scale", "views.local_scale"}),
        (VOC, {"pipeline.batch_size": 1}, ALONE),
        (
            Facts(5011, num_gpus=2, gpu_memory_gb=4.0),
            {"pipeline.batch_size": 256},
            {"loss.centering", "head.use_bn"},
        ),
    ],
)
def test_recipe_gives_way(facts, values, left):
    config = resolved(facts, **{"run.epochs": 1, **values})
    assert config.run.recipe == "few_photos"
    assert set(FEW_PHOTOS) - few_of(config) == left


@pytest.mark.parametrize("gigabytes", [0.5, 1.185, 1.19, 1.195, 1.5, 2.7, 2.8, 6.0])
@pytest.mark.parametrize("gpus", [0, 2])
def test_recipe_knows_the_memory_of_what_it_adds(gigabytes, gpus):
    memory = {"gpu_memory_gb": gigabytes, "memory_gb": gigabytes}
    facts = Facts(5011, num_gpus=gpus, **memory)
    config, _ = resolve(apply_preset(Config(), "voc2007_cpu"), facts)
    assert config.run.recipe == "few_photos" and config.loss.histogram_weight == 20
    assert config.optimizer.accumulate_steps == 1
    asked = {"pipeline.batch_size": 30}
    for left_open in (facts, Facts(5011, memory_gb=gigabytes)):
        resolve(apply_preset(Config.from_dict(asked), "voc2007_cpu"), left_open)


def test_the_teacher_of_few_photos_stays_sharp_however_many_there_are():
    config, reasons = resolve(Config.from_dict({"run.epochs": 4}), Facts(150_000))
    loss = config.loss
    assert (config.run.recipe, loss.warmup_teacher_temp) == ("few_photos", 0.02)
    assert (loss.teacher_temp, loss.warmup_teacher_temp_epochs) == (0.02, 0)
    assert reasons["loss.teacher_temp"] == "few photos: it stays where it starts"


def test_xla_does_not_cross_devices():
    several = Facts(2000, num_gpus=2, compute_capability=(8, 0))
    config, reasons = resolve(Config(), several)
    assert config.run.recipe == "few_photos" and config.run.xla is False
    assert reasons["run.xla"] == "batch norm takes sums over several devices"
    plain = {"head.use_bn": False}
    config, reasons = resolve(Config.from_dict(plain), several)
    assert config.run.xla is False and reasons["run.xla"].startswith("sinkhorn takes")
    both = {**plain, "loss.centering": "center", "run.recipe": "published"}
    assert resolve(Config.from_dict(both), several)[0].run.xla is True
    one = Facts(2000, num_gpus=1, compute_capability=(8, 0))
    assert resolve(Config(), one)[0].run.xla is True
    words = "run.xla: got True, allowed: false for batch norm over 2 devices"
    assert refused(several, run__xla=True) == words


@pytest.mark.parametrize("name", ["imagenet", "imagenet_vanilla"])
def test_published_commands_are_so_for_few_photos_too(name):
    config, _ = resolve(apply_preset(Config(), name), Facts(5011))
    assert config.run.recipe == "published" and not few_of(config)


@pytest.mark.parametrize(
    ("values", "rate"),
    [
        ({}, 1.6e-3),
        ({"pipeline.batch_size": 8}, 1.6e-3),
        # Above 32 photos the peak grows with the root: 4e-4 for 128.
        ({"pipeline.batch_size": 128}, 8e-4),
        ({"optimizer.name": "muon"}, 1.6e-3),
        ({"optimizer.name": "adamw"}, 1.6e-3),
        ({"optimizer.name": "lars"}, 5e-4),
        ({"optimizer.lr_scaling": "sqrt"}, 5e-4),
        ({"optimizer.lr": 5e-4}, 5e-4),
        ({"optimizer.lr": 3e-4}, 3e-4),
    ],
)
def test_rate_of_few_photos(values, rate):
    asked = Config.from_dict({"run.recipe": "few_photos", **values})
    config, reasons = resolve(asked, VOC)
    assert config.optimizer.lr == rate
    assert ("optimizer.lr" in reasons) == (rate not in (5e-4, 3e-4))


@pytest.mark.parametrize(("gpus", "rate"), [(1, 1.6e-3), (8, 5.66e-4)])
def test_rate_of_few_photos_on_gpus(gpus, rate):
    facts = Facts(3000, num_gpus=gpus, gpu_name="A100", gpu_memory_gb=80.0)
    name, _ = choose_preset(facts, "folder:photos")
    config, reasons = resolve(apply_preset(Config(), name), facts)
    assert (config.run.recipe, config.pipeline.batch_size) == ("few_photos", 32 * gpus)
    assert config.optimizer.lr == rate and "optimizer.lr" in reasons


def test_the_recipe_for_few_photos_in_numbers():
    # 426 epochs of 3,000 photos are 19,968 updates of 64; 427 are 20,015.
    config = resolved(Facts(3000), run__epochs=426, model__depth=4)
    assert config.run.recipe == "few_photos"
    assert {key: settings.value_of(config, key) for key in FEW_PHOTOS} == {
        "loss.centering": "sinkhorn",
        "loss.koleo_weight": 0.1,
        "loss.histogram_weight": 20.0,
        "loss.warmup_teacher_temp": 0.02,
        "head.use_bn": True,
        "optimizer.name": "muon",
        "optimizer.muon_query_key": 0.2,
        "optimizer.freeze_last_layer_epochs": 0,
        "optimizer.teacher_momentum_end": 0.995,
        "model.drop_path_rate": 0.0,
        "views.global_scale": (0.5, 1.0),
        "views.local_scale": (0.2, 0.6),
        "views.brightness": 0.7,
        "views.contrast": 0.7,
        "views.saturation": 0.5,
    }
    assert (config.optimizer.muon_lr, config.loss.teacher_temp) == (0.03, 0.02)
    assert resolved(Facts(3000), run__epochs=427).run.recipe == "published"


def test_histograms_take_memory():
    config = resolved(views__num_local=2, run__recipe="published")
    views, plain = config.views, gigabytes_per_photo(config)
    config.loss.histogram_weight = 1.0
    pixels = 2 * views.global_size**2 + 2 * views.local_size**2
    more = gigabytes_per_photo(config) - plain
    assert more == pytest.approx(3 * 4 * 9 * pixels / 1e9)


def test_many_photos_warm_the_teacher_up():
    loss = resolved(IMAGENET).loss
    assert (loss.teacher_temp, loss.warmup_teacher_temp_epochs) == (0.07, 30)
    short = resolved(IMAGENET, run__epochs=20).loss
    assert short.warmup_teacher_temp_epochs == 6


@pytest.mark.parametrize(
    ("epochs", "warmup"), [(2, 0.2), (30, 3), (100, 10), (300, 10)]
)
def test_warmup_is_a_tenth_at_most(epochs, warmup):
    assert resolved(run__epochs=epochs).optimizer.warmup_epochs == warmup


def test_schedules_may_outlast_the_run():
    config = resolved(run__epochs=10, run__schedule_epochs=30)
    assert (config.run.schedule_epochs, config.optimizer.warmup_epochs) == (30, 3)
    assert resolved(run__epochs=10).run.schedule_epochs == 10


@pytest.mark.parametrize(
    ("facts", "precision"),
    [
        (VOC, "float32"),
        (Facts(9, cpu_has_bf16=True), "mixed_bfloat16"),
        (GPU, "mixed_bfloat16"),
        (Facts(9, num_gpus=1, compute_capability=(7, 5)), "mixed_float16"),
        (Facts(9, num_gpus=1, compute_capability=(6, 1)), "float32"),
        (Facts(9, num_gpus=1), "float32"),
    ],
)
def test_precision_follows_the_hardware(facts, precision):
    assert resolved(facts).run.precision == precision


def test_small_patches_are_not_trained_in_float16():
    facts = Facts(9, num_gpus=1, compute_capability=(7, 5))
    assert resolved(facts, model__patch_size=8).run.precision == "float32"


def test_strategy_and_replicas():
    assert resolved().run.strategy == "none"
    eight = resolved(IMAGENET)
    assert (eight.run.strategy, num_replicas(eight, IMAGENET)) == ("mirrored", 8)
    assert eight.pipeline.batch_size == 512
    assert num_replicas(resolved(GPU), GPU) == 1
    two = Facts(100, num_cpu_devices=2)
    assert num_replicas(resolved(two, run__strategy="mirrored"), two) == 2


def test_batch_leaves_updates_in_a_small_set():
    assert resolved(Facts(40)).pipeline.batch_size == 4
    assert resolved(Facts(1)).pipeline.batch_size == 1
    assert resolved().pipeline.batch_size == 32
    assert resolved(GPU).pipeline.batch_size == 32
    published = resolved(GPU, run__recipe="published")
    assert published.pipeline.batch_size == 64


@pytest.mark.parametrize(
    ("precision", "mebibytes"), [("float32", 2109), ("mixed_bfloat16", 1356)]
)
def test_memory_estimate_is_a_little_more_than_was_measured(precision, mebibytes):
    # What 16 photos took more than 4.
    config = resolved(
        run__precision=precision,
        run__recipe="published",
        model__arch="vit_small",
        views__global_size=224,
        views__local_size=96,
        views__num_local=8,
    )
    ratio = 12 * gigabytes_per_photo(config) * 1e9 / 2**20 / mebibytes
    assert 1.05 < ratio < 1.2


def test_batch_that_does_not_fit_is_split():
    small = Facts(1_281_167, num_gpus=1, compute_capability=(8, 0), gpu_memory_gb=16)
    assert resolved(small, pipeline__batch_size=256).optimizer.accumulate_steps == 4
    large = Facts(1_281_167, num_gpus=1, compute_capability=(8, 0), gpu_memory_gb=80)
    assert resolved(large, pipeline__batch_size=256).optimizer.accumulate_steps == 1
    assert resolved(GPU, pipeline__batch_size=256).optimizer.accumulate_steps == 1


def test_weights_leave_less_memory_to_the_photos():
    large = {"model__arch": "vit_large", "views__global_size": 224}
    large |= {"views__local_size": 96, "views__num_local": 8, "head__out_dim": 65536}
    batches = {}
    for memory in (12, 80):
        facts = Facts(
            1_281_167, num_gpus=1, compute_capability=(8, 0), gpu_memory_gb=memory
        )
        config = resolved(facts, **large)
        state = 20 * (12 * 24 * 1024**2 + 1024 * 2048 + 2048**2 + 257 * 2048) / 1e9
        photos = gigabytes_per_photo(config) * config.pipeline.batch_size
        batches[memory] = config.pipeline.batch_size
        assert state + photos <= 0.8 * memory
    assert batches == {12: 4, 80: 64}


def test_every_automatic_value_is_filled_in_and_has_a_reason():
    asked = Config.from_dict({"run.recipe": "published"})
    rules = {**FIRST_RULES, **BATCH_RULES, **RULES}
    config, reasons = resolve(asked, VOC)
    assert {*reasons, "run.recipe"} == set(rules)
    for key in rules:
        assert settings.value_of(config, key) not in (None, "auto")
    assert reasons["head.out_dim"].startswith("5,011 photos")


def test_what_was_asked_for_is_kept_without_a_reason():
    asked = Config.from_dict({"head.out_dim": 1000, "run.precision": "float32"})
    config, reasons = resolve(asked, GPU)
    assert (config.head.out_dim, config.run.precision) == (1000, "float32")
    assert not {"head.out_dim", "run.precision"} & set(reasons)
    assert asked.loss.teacher_temp is None


def test_resolved_twice_is_the_same():
    config, _ = resolve(Config(), VOC)
    assert resolve(config, VOC) == (config, {})


@pytest.mark.parametrize(
    ("facts", "data", "name"),
    [
        (GPU, "voc2007", "voc2007"),
        (VOC, "voc2007", "voc2007_cpu"),
        (VOC, "scenes", "quickstart"),
        (GPU, "scenes:100", "quickstart"),
        (IMAGENET, "folder:photos", "imagenet_vanilla"),
        (Facts(1_281_167), "folder:photos", "voc2007_cpu"),
    ],
)
def test_preset_follows_machine_and_data(facts, data, name):
    chosen, reason = choose_preset(facts, data)
    assert chosen == name
    assert reason
    resolve(apply_preset(Config(data=data), chosen), facts)


def test_a_handful_of_photos_gets_settings_of_its_own():
    for num_photos, batch, out_dim in ((40, 4, 256), (1000, 32, 1024)):
        facts = Facts(num_photos)
        name, _ = choose_preset(facts, "folder:photos")
        config, reasons = resolve(apply_preset(Config(data="photos"), name), facts)
        assert (config.pipeline.batch_size, config.head.out_dim) == (batch, out_dim)
        assert {"pipeline.batch_size", "head.out_dim"} <= set(reasons)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"views__global_size": 100}, "got 100, allowed: multiples of model.patch_si"),
        ({"views__local_size": 50}, "16, such as 48 or 64"),
        ({"views__local_size": 8}, "16, such as 16"),
        ({"run__eval_size": 100}, "run.eval_size: got 100"),
        ({"pipeline__batch_size": 6000}, "at most 5011, the number of photos"),
        ({"pipeline__batch_size": 0}, "got 0, allowed: 1 or more"),
        (
            {"pipeline__batch_size": 64, "optimizer__accumulate_steps": 3},
            "multiples of 3 (1 devices, 3 parts)",
        ),
        ({"run__schedule_epochs": 3}, "got 3, allowed: run.epochs 100 or more"),
        ({"optimizer__warmup_epochs": 101}, "at most 100, the epochs"),
        ({"optimizer__freeze_last_layer_epochs": 101}, "got 101, allowed: at most"),
        ({"loss__teacher_temp": 0.2}, "up to loss.student_temp 0.1"),
        ({"loss__teacher_temp": 0}, "got 0.0, allowed: above 0"),
        ({"optimizer__teacher_momentum": 1.5}, "from 0 to 1"),
        (
            {
                "optimizer__teacher_momentum": 0.99,
                "optimizer__teacher_momentum_end": 0.5,
            },
            "got 0.5, allowed: optimizer.teacher_momentum 0.99 or more",
        ),
        ({"optimizer__min_lr": 0.1}, "up to the peak of the rate"),
        ({"optimizer__lr": float("inf")}, "optimizer.lr: got inf, allowed: a number"),
        ({"views__num_local": -1}, "got -1, allowed: 0 or more"),
        ({"views__global_scale": [0.5, 0.4]}, "got [0.5, 0.4], allowed: the smaller"),
        ({"views__local_scale": [0.0, 0.4]}, "above 0, up to 1"),
        ({"views__hue": 0.7}, "from 0 to 0.5"),
        ({"views__solarize": [0.0, 2.0]}, "from 0 to 1"),
        ({"model__drop_path_rate": 1.0}, "from 0 to below 1"),
        ({"model__arch": "vit_smal"}, "did you mean vit_small?"),
        ({"model__embed_dim": 100}, "model.num_heads: got 6, allowed: divisors of 100"),
        ({"run__precision": "mixed_float16"}, "float32, mixed_bfloat16 without a GPU"),
        ({"pipeline__max_bad_share": 2.0}, "from 0 to 1"),
        ({"loss__koleo_weight": -0.1}, "got -0.1, allowed: 0 or more"),
        (
            {"loss__koleo_weight": 0.1, "pipeline__batch_size": 1},
            "got 0.1, allowed: 0 for one photo at a time (1 devices, 1 parts)",
        ),
        (
            {"loss__centering": "sinkhorn", "loss__center_momentum": 0.5},
            "loss.center_momentum: got 0.5, allowed: 0.9 without a center",
        ),
        ({"loss__centering": "mean"}, "got 'mean', allowed: center, sinkhorn"),
    ],
)
def test_contradictions_are_refused(values, words):
    text = refused(**values)
    assert words in text
    assert "got " in text and "allowed: " in text


def test_local_size_is_free_without_local_crops():
    config = resolved(views__num_local=0, views__local_size=50)
    assert config.views.local_size == 50


def test_batch_is_divisible_by_replicas():
    text = refused(IMAGENET, pipeline__batch_size=100)
    assert "got 100, allowed: multiples of 8 (8 devices, 1 parts)" in text


def test_bfloat16_needs_a_gpu_that_has_it():
    facts = Facts(99, num_gpus=1, compute_capability=(7, 0))
    assert "mixed_float16" in refused(facts, run__precision="mixed_bfloat16")


def test_wrong_type_in_python_is_refused_too():
    config = Config()
    config.run.epochs = "many"
    with pytest.raises(UserError, match="run.epochs: got 'many'"):
        resolve(config, VOC)


def test_description_fits_80_columns_and_shows_reasons():
    config, reasons = resolve(Config(), VOC)
    lines = describe(config, reasons).splitlines()
    assert max(map(len, lines)) <= 80
    assert "  out_dim                    4096 - 5,011 photos: near one prototype a" in (
        "\n".join(lines)
    )
    assert "  hidden_dim                 2048" in lines


def test_written_yaml_reads_back_with_reasons_as_comments(tmp_path):
    config, reasons = resolve(apply_preset(Config(), "voc2007_cpu"), VOC)
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config, reasons))
    assert Config.from_yaml(file) == config
    text = file.read_text()
    assert "  # the schedules end with the run\n  schedule_epochs: 30\n" in text


RESNET = Network(numbers=50e6, batch_norm=True)


def test_memory_of_other_networks_is_what_their_layers_give():
    config = resolved(run__precision="float32")
    assert gigabytes_per_photo(config, RESNET) == pytest.approx(0.2)
    facts = Facts(5011, num_gpus=1, gpu_memory_gb=2.0, network=RESNET)
    # 0.8 of 2 GB hold 8 photos of 0.2 GB.
    config = resolved(facts, model__arch="keras:ResNet50", run__precision="float32")
    assert config.pipeline.batch_size == 8


def test_batch_norm_over_devices_is_not_cut_into_parts():
    facts = Facts(5011, num_gpus=2, gpu_memory_gb=2.0, network=RESNET)
    values = {"model__arch": "keras:ResNet50", "run__precision": "float32"}
    config = resolved(facts, pipeline__batch_size=64, **values)
    assert config.optimizer.accumulate_steps == 1
    text = refused(facts, optimizer__accumulate_steps=2, **values)
    assert "got 2, allowed: 1 for batch norm over 2 devices" in text
    alone = Facts(5011, num_gpus=1, gpu_memory_gb=2.0, network=RESNET)
    config = resolved(alone, pipeline__batch_size=64, **values)
    assert config.optimizer.accumulate_steps == 8


def test_sinkhorn_over_devices_is_not_cut_into_parts():
    facts = Facts(5011, num_gpus=2, gpu_memory_gb=4.0)
    values = {"loss__centering": "sinkhorn", "pipeline__batch_size": 256}
    assert resolved(facts, pipeline__batch_size=256).optimizer.accumulate_steps > 1
    assert resolved(facts, **values).optimizer.accumulate_steps == 1
    text = refused(facts, optimizer__accumulate_steps=2, **values)
    assert "got 2, allowed: 1 for sinkhorn over 2 devices" in text


def test_settings_of_vits_are_refused_for_other_networks():
    text = refused(model__arch="keras:ResNet50", model__patch_size=8)
    assert text == (
        "model.patch_size: got 8, allowed: only with vit_*; keras:ResNet50 has its own"
    )
    assert "keras:NAME, as in keras:ResNet50" in refused(model__arch="keras:")
    facts = Facts(5011, network=RESNET)
    config = Config.from_dict({"model.arch": "keras:ResNet50"})
    config, reasons = resolve(config, facts)
    assert reasons["model.patch_size"] == "of vit_* only"


def test_any_size_of_view_is_left_to_the_network():
    facts = Facts(5011, network=RESNET)
    config = resolved(facts, model__arch="keras:ResNet50", views__global_size=100)
    assert config.run.eval_size == 100


def test_networks_are_those_of_the_models():
    from dino_tf.models.backbones import VITS

    assert checks.ARCHITECTURES == VITS


@pytest.mark.parametrize(
    ("facts", "cache", "gigabytes"),
    [
        (Facts(5000, memory_gb=64, photo_mb=1), "none", 0.0),
        (Facts(5000, num_gpus=1, memory_gb=64, photo_mb=1), "memory", 6.4),
        (Facts(7000, num_gpus=1, memory_gb=64, photo_mb=1), "none", 0.0),
        (Facts(5000, num_gpus=1, memory_gb=64), "none", 0.0),
        (Facts(5000, num_gpus=1, photo_mb=1), "none", 0.0),
    ],
)
def test_photos_are_kept_where_all_fit(facts, cache, gigabytes):
    pipeline = resolved(facts).pipeline
    assert (pipeline.cache, pipeline.cache_gb) == (cache, gigabytes)


def test_cache_that_was_asked_for_has_a_budget():
    asked = resolved(Facts(9, memory_gb=64), pipeline__cache="disk").pipeline
    assert (asked.cache, asked.cache_gb) == ("disk", 10.0)
    asked = resolved(Facts(9, memory_gb=64), pipeline__cache="memory").pipeline
    assert (asked.cache, asked.cache_gb) == ("memory", 6.4)


def test_processes_serve_a_gpu():
    assert resolved(Facts(9, num_cores=4)).pipeline.processes == 0
    assert resolved(Facts(99, num_gpus=1, num_cores=4)).pipeline.processes == 4
