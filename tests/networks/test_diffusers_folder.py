"""UNet2DModel folders, against diffusers' own schedulers. Folders are written by diffusers; what is not about its classes needs none."""

from __future__ import annotations

import ast
import json
import pathlib
import pickle
import re
import sys

import pytest
import torch

from smalti import InputError
from smalti.networks.conventions import DiscreteTable, as_denoiser
from smalti.networks.diffusers_config import DISCRETE, EDM, read_scheduler
from smalti.networks.diffusers_folder import read_diffusers
from smalti.networks.network import Network
from smalti.networks.tables import SCHEDULES

PREDICTIONS = ("epsilon", "v_prediction", "sample")
TINY = {
    "sample_size": 8,
    "in_channels": 2,
    "out_channels": 2,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
    "attention_head_dim": 8,
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="session")
def diffusers():
    return pytest.importorskip("diffusers")


def unet(diffusers, **changes):
    torch.manual_seed(0)
    return diffusers.UNet2DModel(**{**TINY, **changes}).eval()


@pytest.fixture
def pipeline(diffusers, tmp_path):
    """A DDPM pipeline's folder."""
    folder = tmp_path / "pipeline"
    diffusers.DDPMPipeline(unet(diffusers), diffusers.DDPMScheduler()).save_pretrained(folder)
    return folder


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(folder, says, **arguments):
    with pytest.raises(InputError, match=says) as caught:
        read_diffusers(folder, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestRead:
    @pytest.mark.parametrize("prediction", PREDICTIONS)
    @pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
    def test_the_denoiser_is_the_schedulers_pred_original_sample(self, diffusers, tmp_path, prediction, kind):
        network = unet(diffusers)
        scheduler = getattr(diffusers, kind)(
            clip_sample=False, prediction_type=prediction, beta_schedule="scaled_linear"
        )
        diffusers.DDPMPipeline(network, scheduler).save_pretrained(tmp_path)
        read = read_diffusers(tmp_path)
        assert (read.shape, read.num_classes, len(read.table)) == ((2, 8, 8), None, 1000)
        assert not any(p.requires_grad for p in read.module.parameters())
        denoise = as_denoiser(read.module, read.convention, read.table)
        scheduler.set_timesteps(1000)
        x = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(2))
        for t in (0, 1, 17, 400, 700):
            abar = scheduler.alphas_cumprod[t].double()
            with torch.no_grad():
                wanted = scheduler.step(network(x, t).sample, t, x).pred_original_sample
                sigma = ((1 - abar) / abar).sqrt().expand(3)
                result = denoise((x.double() / abar.sqrt()).float(), sigma)
            assert float((result - wanted).abs().max() / wanted.abs().max().clamp(min=1)) < 1e-5

    @pytest.mark.parametrize("kind", EDM)
    @pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
    def test_edm_schedulers(self, diffusers, tmp_path, kind, prediction):
        network = unet(diffusers, num_class_embeds=3)
        scheduler = getattr(diffusers, kind)(prediction_type=prediction, sigma_data=0.7)
        network.save_pretrained(tmp_path)
        scheduler.save_pretrained(tmp_path / "scheduler")
        read = read_diffusers(tmp_path)
        assert (read.convention, read.table, read.num_classes) == ("edm", None, 3)
        x = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(2))
        labels = torch.tensor([2, 0])
        for sigma in (0.002, 1.0, 80.0):
            level = torch.tensor(sigma)
            z = x * (1 + sigma)
            with torch.no_grad():
                output = network(scheduler.precondition_inputs(z, level), scheduler.precondition_noise(level), labels)
                wanted = scheduler.precondition_outputs(z, output.sample, level)
                result = as_denoiser(read.module, "edm")(z, torch.tensor([sigma, sigma]), labels)
            torch.testing.assert_close(result, wanted, rtol=1e-5, atol=1e-5)

    def test_classes(self, diffusers, tmp_path):
        network = unet(diffusers, num_class_embeds=5)
        network.save_pretrained(tmp_path)
        read = read_diffusers(tmp_path, scheduler={})
        assert read.num_classes == 5
        denoise = as_denoiser(read.module, read.convention, read.table)
        z, sigma, labels = torch.randn(2, 2, 8, 8), read.table.sigmas[[300, 300]], torch.tensor([4, 1])
        with torch.no_grad():
            x = (z.double() / (1 + sigma[0] ** 2).sqrt()).float()
            wanted = z - sigma[0].float() * network(x, 300, labels).sample
            torch.testing.assert_close(denoise(z, sigma, labels), wanted, rtol=1e-5, atol=1e-5)
        with pytest.raises(InputError, match="give labels"):
            denoise(z, sigma, None)

    def test_where_a_scheduler_may_be(self, pipeline):
        whole = read_diffusers(pipeline)
        part = read_diffusers(str(pipeline / "unet"))  # its scheduler is found in the pipeline
        assert part.about["scheduler"] == whole.about["scheduler"] == "DDPMScheduler"
        (pipeline / "scheduler" / "scheduler_config.json").rename(pipeline / "scheduler_config.json")
        assert read_diffusers(pipeline).convention == "epsilon-vp"
        given = read_diffusers(pipeline, scheduler={"prediction_type": "v_prediction", "num_train_timesteps": 50})
        assert (given.convention, len(given.table)) == ("v-vp", 50)
        json.dumps(given.about)

    def test_a_learned_variance_is_left_out(self, diffusers, tmp_path):
        network = unet(diffusers, out_channels=4)
        network.save_pretrained(tmp_path)
        diffusers.DDPMScheduler(variance_type="learned_range").save_pretrained(tmp_path)
        read = read_diffusers(tmp_path)
        x, t = torch.randn(1, 2, 8, 8), torch.tensor([3.0])
        with torch.no_grad():
            torch.testing.assert_close(read.module(x, t), network(x, 3).sample[:, :2])
        refused(tmp_path, "expects 2 channels", scheduler={})

    def test_learned_timesteps_are_whole_numbers(self, diffusers, tmp_path):
        unet(diffusers, time_embedding_type="learned", num_train_timesteps=1000).save_pretrained(tmp_path)
        read = read_diffusers(tmp_path, scheduler={})
        assert read.table.rounding == "nearest"
        result = as_denoiser(read.module, read.convention, read.table)(torch.zeros(1, 2, 8, 8), torch.ones(1))
        assert result.shape == (1, 2, 8, 8)
        refused(tmp_path, "noise levels", scheduler={"num_train_timesteps": 2000})

    @pytest.mark.parametrize("pair", ["Skip", "AttnSkip", "Resnet"])
    def test_other_blocks_and_images_that_are_not_square(self, diffusers, tmp_path, pair):
        blocks = {
            "Skip": ("SkipDownBlock2D", "SkipUpBlock2D"),
            "AttnSkip": ("AttnSkipDownBlock2D", "AttnSkipUpBlock2D"),
            "Resnet": ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"),
        }[pair]
        skipping = pair != "Resnet"  # their side path has 3 channels
        network = unet(
            diffusers,
            sample_size=(8, 16),
            **({"in_channels": 3, "out_channels": 3, "block_out_channels": (32, 32)} if skipping else {}),
            down_block_types=("DownBlock2D" if not skipping else blocks[0], blocks[0]),
            up_block_types=(blocks[1], "UpBlock2D" if not skipping else blocks[1]),
        )
        network.save_pretrained(tmp_path)
        read = read_diffusers(tmp_path, scheduler={})
        x = torch.randn(1, *read.shape)
        assert read.shape[1:] == (8, 16)
        with torch.no_grad():
            torch.testing.assert_close(read.module(x, torch.tensor([5])), network(x, 5).sample)

    def test_old_names_half_precision_and_the_random_state(self, pipeline):
        torch_file = pytest.importorskip("safetensors.torch")
        path = pipeline / "unet" / WEIGHTS
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        tensors = {}
        for name, value in torch_file.load_file(path).items():
            for new, before in old.items():
                name = name.replace(f".{new}.", f".{before}.")
            tensors[name] = value.half()
        assert any(".proj_attn." in name for name in tensors)
        wanted = read_diffusers(pipeline)
        torch_file.save_file(tensors, path)
        state = torch.get_rng_state()
        read = read_diffusers(pipeline)
        assert torch.equal(torch.get_rng_state(), state)
        for (name, one), (_, other) in zip(
            read.module.state_dict().items(), wanted.module.state_dict().items(), strict=True
        ):
            assert one.dtype == torch.float32, name
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)

    def test_differentiable_in_z(self, pipeline):
        read = read_diffusers(pipeline)
        denoise = as_denoiser(read.module, read.convention, read.table)
        sigma = torch.tensor([0.7])
        z = torch.randn(1, 2, 8, 8)
        result, pull = torch.func.vjp(lambda y: denoise(y, sigma), z)
        assert torch.isfinite(pull(torch.ones_like(result))[0]).all()
        many = torch.func.vmap(lambda y: denoise(y[None], sigma))(torch.cat([z, -z]))
        torch.testing.assert_close(many[:1, 0], result, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        "saved",
        [
            {"safe_serialization": False},
            {"variant": "fp16"},
            {"variant": "fp16", "safe_serialization": False},
            {"max_shard_size": "20KB"},
            {"max_shard_size": "20KB", "safe_serialization": False},
            {"max_shard_size": "20KB", "variant": "fp16"},
        ],
    )
    def test_weights_as_people_save_them(self, saved, diffusers, tmp_path):
        """A file of torch.save, a variant, several files with an index: the numbers that were saved."""
        network = unet(diffusers)
        if "variant" in saved:
            network.half()
        network.save_pretrained(tmp_path, **saved)
        assert not (tmp_path / WEIGHTS).exists()
        read = read_diffusers(tmp_path, scheduler={})
        assert len(list(tmp_path.glob("*-of-*"))) != 1
        for name, value in network.state_dict().items():
            assert torch.equal(read.module.unet.state_dict()[name], value.float())

    def test_an_index_that_points_elsewhere(self, diffusers, tmp_path):
        unet(diffusers).save_pretrained(tmp_path, max_shard_size="20KB")
        index = tmp_path / f"{WEIGHTS}.index.json"
        table = json.loads(index.read_text())
        for other in ({}, {"conv_in.bias": "../x.safetensors"}, {"conv_in.bias": 1}, [1]):
            index.write_text(json.dumps({**table, "weight_map": other}))
            refused(tmp_path, "does not say which files", scheduler={})
        part = sorted(set(table["weight_map"].values()))[0]
        index.write_text(json.dumps({**table, "weight_map": {"conv_in.bias": part}}))
        refused(tmp_path, "is missing", scheduler={})

    def test_averaged_weights_before_raw_ones(self, pipeline, diffusers):
        averaged = unet(diffusers)
        with torch.no_grad():
            for parameter in averaged.parameters():
                parameter.mul_(0.5)
        averaged.save_pretrained(pipeline / "unet_ema")
        with pytest.warns(UserWarning, match="the averaged are read"):
            read = Network.load(pipeline)
        raw = Network.load(pipeline, weights="raw")
        for name, value in averaged.state_dict().items():
            assert torch.equal(read.module.unet.state_dict()[name], value)
            assert torch.equal(raw.module.unet.state_dict()[name], 2 * value)

    def test_a_folder_without_a_scheduler_and_what_its_message_says(self, diffusers, tmp_path):
        unet(diffusers).save_pretrained(tmp_path)
        with pytest.raises(InputError, match=r"Network\.load\(path, scheduler=") as caught:
            Network.load(tmp_path)
        given = ast.literal_eval(re.search(r"scheduler=(\{.*?\})", str(caught.value))[1])
        assert Network.load(tmp_path, scheduler=given).convention == "epsilon-vp"
        line, file = re.search(r"the line (\{.*?\}) in the file (\S+),", str(caught.value)).groups()  # type: ignore[union-attr]
        pathlib.Path(file).write_text(line)  # case 19: what a command can be given
        assert Network.load(tmp_path).convention == "epsilon-vp"
        assert Network.load(tmp_path, config=given).convention == "epsilon-vp"
        with pytest.raises(InputError, match="give scheduler= alone"):
            Network.load(tmp_path, config=given, scheduler=given)


class TestDamaged:
    def test_weights(self, pipeline):
        path = pipeline / "unet" / WEIGHTS
        whole = path.read_bytes()
        for damage in (
            b"",
            whole[:7],
            whole[:200],
            whole[: len(whole) // 2],
            b"\xff" * 100,
            pickle.dumps({}),
            whole + b"x",
        ):
            path.write_bytes(damage)
            refused(pipeline, "is not a readable safetensors file|is empty")
        path.unlink()
        refused(pipeline, "has no diffusion_pytorch_model.safetensors")
        for variant in ("fp16", "bf16"):
            (pipeline / "unet" / f"diffusion_pytorch_model.{variant}.safetensors").write_bytes(whole)
        refused(pipeline, "several variants")

    def test_tensors(self, pipeline):
        torch_file = pytest.importorskip("safetensors.torch")
        path = pipeline / "unet" / WEIGHTS
        whole = torch_file.load_file(path)
        for change, says in (
            ({"conv_in.bias": None}, "conv_in.bias is missing"),
            ({"extra": torch.zeros(1)}, "extra is not part"),
            ({"conv_in.bias": torch.zeros(9)}, "has shape"),
            ({"conv_in.bias": torch.full((8,), float("nan"))}, "NaN"),
            ({"conv_in.bias": torch.zeros(8, dtype=torch.int64)}, "non-float"),
        ):
            torch_file.save_file({k: v for k, v in {**whole, **change}.items() if v is not None}, path)
            refused(pipeline, says)

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"_class_name": "UNet2DConditionModel"}, "UNet2DConditionModel"),
            ({"_class_name": ["x"] * 100}, "class"),
            ({"sample_size": None}, "does not say sample_size"),
            ({"sample_size": 10**7}, "sample_size"),
            ({"sample_size": "8"}, "sample_size"),
            ({"sample_size": [8, 8, 8]}, "sample_size"),
            ({"sample_size": 7}, "does not describe"),
            ({"in_channels": 10**9}, "in_channels"),
            ({"in_channels": True}, "in_channels"),
            ({"in_channels": None}, "in_channels"),
            ({"in_channels": 5}, "come out as"),
            ({"block_out_channels": [10**9, 10**9]}, "block_out_channels"),
            ({"block_out_channels": 8}, "block_out_channels"),
            ({"block_out_channels": [8] * 500}, "block_out_channels"),
            ({"block_out_channels": [8]}, "does not describe"),
            ({"block_out_channels": [4096, 4096]}, "not of the network"),
            ({"layers_per_block": 10**6}, "layers_per_block"),
            ({"layers_per_block": 2}, "is missing"),
            ({"down_block_types": ["os.system", "DownBlock2D"]}, "does not describe"),
            ({"down_block_types": [1, 2]}, "down_block_types"),
            ({"norm_eps": "1e-5"}, "norm_eps"),
            ({"norm_eps": float("inf")}, "norm_eps"),
            ({"norm_eps": 10**400}, "norm_eps"),
            ({"norm_num_groups": 3}, "does not describe"),
            ({"act_fn": "nothing"}, "does not describe"),
            ({"center_input_sample": "false"}, "true or false"),
            ({"class_embed_type": "timestep"}, "class_embed_type"),
            ({"time_embedding_type": "fourier"}, "score-ve"),
            ({"num_class_embeds": 10**12}, "num_class_embeds"),
            ({"num_class_embeds": 4}, "class_embedding.weight is missing"),
        ],
    )
    def test_config(self, pipeline, changes, says):
        edit(pipeline / "unet" / "config.json", **changes)
        refused(pipeline, says)

    def test_nothing_of_the_folder_runs_and_nothing_is_fetched(self, pipeline, monkeypatch):
        def no_network(*arguments, **more):
            raise AssertionError("the network was used")

        monkeypatch.setattr("socket.socket", no_network)
        (pipeline / "unet" / "modeling.py").write_text("raise SystemExit(3)")
        edit(pipeline / "unet" / "config.json", auto_map={"AutoModel": "modeling.Evil"})
        assert read_diffusers(pipeline).about["ignored"] == ["auto_map"]


class TestWithoutDiffusers:
    """What is refused before diffusers is needed."""

    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel", **TINY}))
        (tmp_path / "scheduler_config.json").write_text(json.dumps({"_class_name": "DDPMScheduler"}))
        return tmp_path

    def test_it_is_asked_for(self, folder, monkeypatch):
        monkeypatch.setitem(sys.modules, "diffusers", None)
        refused(folder, r"pip install 'smalti\[diffusers\]'")

    def test_no_folder(self, folder, tmp_path):
        refused(tmp_path / "absent", "does not exist")
        refused(folder / "config.json", "is not a folder")
        refused("", "from a folder")
        refused(None, "from a folder")
        refused("a\0b", "from a folder")

    def test_no_scheduler(self, folder):
        (folder / "scheduler_config.json").unlink()
        refused(folder, "has no scheduler/scheduler_config.json.*scheduler=")
        refused(folder, "a dict, not str", scheduler="ddpm")
        (folder / "config.json").unlink()
        refused(folder, "no unet/config.json")

    @pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\xff\xfe", "[" * 100_000, '"' + "x" * (5 << 20) + '"'])
    @pytest.mark.parametrize("name", ["config.json", "scheduler_config.json", "model_index.json"])
    def test_json(self, folder, name, text):
        (folder / name).write_text(text, "latin-1")
        refused(folder, name)

    def test_another_class(self, folder):
        edit(folder / "config.json", _class_name="UNet2DConditionModel")
        refused(folder, "UNet2DConditionModel")
        (folder / "model_index.json").write_text(json.dumps({"unet": ["my_code", "Net"]}))
        refused(folder, "my_code")


class TestScheduler:
    @pytest.mark.parametrize("schedule", SCHEDULES)
    @pytest.mark.parametrize("rescale", [False, True])
    def test_tables_are_those_of_diffusers(self, diffusers, schedule, rescale):
        scheduler = diffusers.DDPMScheduler(beta_schedule=schedule, rescale_betas_zero_snr=rescale, beta_end=0.013)
        table = read_scheduler(dict(scheduler.config, _class_name="DDPMScheduler"), "here").table
        assert float((table.alphas_cumprod - scheduler.alphas_cumprod.double()).abs().max()) < 1e-6
        named = DiscreteTable.named(schedule, beta_end=0.013, rescale_zero_snr=rescale)
        assert torch.equal(named.alphas_cumprod, table.alphas_cumprod)

    @pytest.mark.parametrize("name", DISCRETE)
    def test_defaults_are_the_classes_own(self, diffusers, name):
        if name == "LMSDiscreteScheduler":
            pytest.importorskip("scipy")
        scheduler = getattr(diffusers, name)()
        for config in ({}, scheduler.config):
            read = read_scheduler({**config, "_class_name": name}, "here")
            assert read.prediction == "epsilon"
            assert float((read.table.alphas_cumprod - scheduler.alphas_cumprod.double()).abs().max()) < 1e-6

    def test_trained_betas(self, diffusers):
        betas = torch.linspace(0.001, 0.3, 20).tolist()
        scheduler = diffusers.DDPMScheduler(num_train_timesteps=20, trained_betas=betas)
        table = read_scheduler({**scheduler.config, "_class_name": "DDPMScheduler"}, "here").table
        assert float((table.alphas_cumprod - scheduler.alphas_cumprod.double()).abs().max()) < 1e-6

    def test_the_old_name_of_the_prediction(self):
        for value, convention in ((True, "epsilon-vp"), (False, "sample-vp")):
            read = read_scheduler({"_class_name": "DDPMScheduler", "predict_epsilon": value}, "here")
            assert read.convention == convention

    @pytest.mark.parametrize(
        "changes",
        [
            {"_class_name": "ScoreSdeVeScheduler"},
            {"_class_name": "FlowMatchEulerDiscreteScheduler"},
            {"_class_name": ["DDPMScheduler"]},
            {"_class_name": None},
            {"prediction_type": "flow_prediction"},
            {"prediction_type": ["epsilon"]},
            {"prediction_type": None},
            {"beta_schedule": "laplace"},
            {"beta_schedule": ["linear"]},
            {"beta_start": 0},
            {"beta_end": 1},
            {"beta_end": "0.02"},
            {"beta_end": float("nan")},
            {"num_train_timesteps": 10**12},
            {"num_train_timesteps": 10**400},
            {"num_train_timesteps": 0},
            {"num_train_timesteps": 10.5},
            {"trained_betas": [0.1, 0.2]},
            {"trained_betas": [2.0] * 1000},
            {"trained_betas": ["a"] * 1000},
            {"trained_betas": [10**400] * 1000},
            {"rescale_betas_zero_snr": "yes"},
            {"snr_shift_scale": 3.0},
            {"use_flow_sigmas": True},
            {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"},
            {"_class_name": "EDMEulerScheduler", "prediction_type": "sample"},
            {"_class_name": "EDMEulerScheduler", "sigma_data": 0},
        ],
    )
    def test_refused(self, changes):
        with pytest.raises(InputError, match=r"\Ahere[^\n]+\Z"):
            read_scheduler({"_class_name": "DDPMScheduler", **changes}, "here")
