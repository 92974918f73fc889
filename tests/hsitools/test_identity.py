"""Names of sensors and scenes: the same on every machine, another for every other sensor."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsitools.errors import InputError
from hsitools.identity import cube_fingerprint, fingerprint, number_codes
from hsitools.io import open_cube, save_cube
from hsitools.scenes import scene
from hsitools.sensor import Calibration, Sensor, preset
from hsitools.sensor.bands import GaussianResponse, TableResponse
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.legacy_names import former_names
from hsitools.sensor.polynomial import Band
from hsitools.sensor.spectral import FabryPerotResponse
from hsitools.sensor.transmittance import TransmittanceModel

pytestmark = pytest.mark.portable
#: Fingerprints of the presets that 0.1.0 had.
NAMES = {"prisma": "31573743760e", "enmap": "238d701cd304", "hyperion-ali": "7cb5c851435c", "finch": "008b94ada9aa"}


def table_sensor():
    table = np.linspace(400, 900, 300)
    centre = np.linspace(450, 850, 7)[:, None]
    return Sensor(
        response=TableResponse(table_nm=table, response=np.exp(-0.5 * ((table - centre) / 9) ** 2)), name="table"
    )


def calibrated():
    rng = np.random.default_rng(3)
    maps = Calibration(
        gain=1 + 0.05 * rng.standard_normal((7, 40)), offset=0.01 * rng.standard_normal((7, 40)),
        dead=rng.random((7, 40)) < 0.02,
    )  # fmt: skip
    return table_sensor().replace(calibration=maps)


def interferometers():
    rng = np.random.default_rng(1)
    line = np.linspace(1.0, 2.5, 40)
    return Sensor(
        response=FabryPerotResponse(
            model=TransmittanceModel(degree_gain=1, degree_reflectivity=1, etalons_um=(31.7, 402.9)),
            band=Band(low=1.0, high=2.5), theta=rng.standard_normal((12, 20)), gain_scale=1 + 0.1 * rng.random(12),
            wavenumber=line, flat=0.5 + rng.random((12, 40)), curve=1 + 0.01 * np.sin(line),
        ),
        layout=SubImageLayout(frame_shape=(100, 130), grid=(3, 4), pitch=(30.0, 30.25), origin=(18.0, 20.0)),
    )  # fmt: skip


SENSORS = {**{name: lambda name=name: preset(name) for name in NAMES}, "table": table_sensor, "maps": calibrated,
           "interferometers": interferometers}  # fmt: skip


def changed(value, change):
    """A copy of a dataclass with every number of floating point passed through ``change(name, array)``."""
    if dataclasses.is_dataclass(value):
        facts = {}
        for field in dataclasses.fields(value):
            old = getattr(value, field.name)
            facts[field.name] = change(field.name, old) if _floats(old) else changed(old, change)
        return dataclasses.replace(value, **facts)
    return value


def _floats(value):
    if isinstance(value, tuple) and value:
        return all(isinstance(entry, float) for entry in value)
    return isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype.kind == "f")


def like(old, new):
    if isinstance(old, tuple):
        return tuple(map(float, new))
    return float(new) if isinstance(old, float) else new


@pytest.mark.parametrize("name", SENSORS)
def test_rounding_errors_change_no_name(name):
    sensor = SENSORS[name]()
    for seed in range(40):
        rng = np.random.default_rng(seed)

        def jitter(_, old, rng=rng):
            size = 10.0 ** rng.uniform(-16, -12)
            error = size * rng.choice([-1, 0, 1], np.shape(old))
            # shares are at most one
            return like(old, np.asarray(old) * (1 + np.where(np.equal(old, 1), -np.abs(error), error)))

        assert changed(sensor, jitter).fingerprint() == sensor.fingerprint()


@pytest.mark.parametrize("name", SENSORS)
@pytest.mark.parametrize("size", [1e-6, -1e-6, 1e-3])
def test_any_other_number_is_another_sensor(name, size):
    """One element of each array after the other (some of them), and each single number."""
    sensor = SENSORS[name]()
    counts, names, tried = [], {sensor.fingerprint()}, 1
    changed(sensor, lambda _, old: counts.append(np.size(old)) or old)
    rng = np.random.default_rng(0)
    for number, count in enumerate(counts):
        for place in rng.permutation(count)[:5]:
            turn, touched = iter(range(len(counts))), []

            def one(_, old, turn=turn, touched=touched, number=number, place=place):
                if next(turn) != number:
                    return old
                new = np.array(old, dtype=float)
                touched.append(0 if abs(new.flat[place]) < 1e-15 * abs(new).max() else new.flat[place])
                new.flat[place] *= 1 + size
                return like(old, new)

            try:
                other = changed(sensor, one)
            except InputError:  # a share above one
                assert touched == [1]
                continue
            # nothing, or what rounding may leave of it in an array of other numbers, stays; so does infinity
            if touched[0] == 0 or np.isinf(touched[0]):
                assert other.fingerprint() == sensor.fingerprint()
                continue
            names.add(other.fingerprint())
            tried += 1
    assert len(names) == tried > 3


@pytest.mark.parametrize("name", SENSORS)
def test_a_file_changes_no_name(name, tmp_path):
    sensor = SENSORS[name]()
    sensor.save(tmp_path / "sensor.h5")
    again = Sensor.load(tmp_path / "sensor.h5")
    assert again.fingerprint() == sensor.fingerprint()
    assert again.describe()["hash"] == sensor.describe()["hash"] == sensor.fingerprint()


def test_names_are_these():
    """On any processor: numbers that Planck's law and steps of wavelength give are among them."""
    assert {name: preset(name).fingerprint() for name in NAMES} == NAMES


def test_prose_and_new_fields_change_no_name():
    sensor = preset("finch")
    assert sensor.replace(source="elsewhere", assumptions=("none",)).fingerprint() == sensor.fingerprint()
    assert sensor.replace(units="DN").fingerprint() != sensor.fingerprint()
    assert sensor.replace(stripes=None).fingerprint() != sensor.fingerprint()

    fields = [("gain", float), ("read_noise", float, 0.0)]
    detector = dataclasses.make_dataclass("Detector", fields)
    # as a later version has it
    later = dataclasses.make_dataclass(
        "Detector", [*fields, ("bias", float, 0.0), ("masks", tuple, dataclasses.field(default_factory=tuple))]
    )
    old = fingerprint(detector(2.0))
    assert fingerprint(later(2.0)) == old
    assert fingerprint(later(2.0, bias=1.0)) != old
    # a number is the same however it is written
    assert (
        fingerprint(detector(2)) == fingerprint(detector(np.float32(2))) == fingerprint(detector(np.array(2.0))) == old
    )
    assert fingerprint(detector(np.array([2.0]))) != old
    with pytest.raises(TypeError, match="object has no name"):
        fingerprint(object())


def test_shapes_matter():
    response = GaussianResponse(centre_nm=[500, 600], width_nm=[10, 10])
    one, two = (Sensor(response=response, mtf=mtf) for mtf in (np.array([0.2, 0.3]), np.array([[0.2, 0.3]] * 2)))
    assert one.fingerprint() != two.fingerprint()


# ---- numbers ---------------------------------------------------------------------------------------------------

NUMBERS = st.floats(1e-300, 1e300)


@given(NUMBERS, st.sampled_from([-1, 1]))
def test_number_codes(value, sign):
    value *= sign
    code = number_codes(value)
    assert number_codes(value * (1 + 1e-6)) != code
    assert number_codes(value * (1 - 1e-6)) != code
    assert abs(number_codes(value * (1 + 1e-9)) - code) <= 1
    assert number_codes(-value) == -code != 0


@given(NUMBERS, NUMBERS)
def test_number_codes_keep_order(one, two):
    low, high = sorted((one, two))
    assert number_codes(low) <= number_codes(high)


@pytest.mark.parametrize("value", [1.0, 2.0**-11, 2.0**-12, 0.1, 0.25, 1e-3, 1.5e5, 1 / 3, 402.0, 1e-300])
def test_numbers_that_are_written_down_lie_on_no_edge(value):
    assert np.unique(number_codes(value * (1 + np.linspace(-1e-8, 1e-8, 41)))).size == 1


def test_what_is_no_number():
    codes = number_codes(np.array([0.0, -0.0, 1e-18, np.inf, -np.inf, np.nan, 1.0]))
    # what rounding leaves of zero is zero
    assert codes[0] == codes[1] == codes[2] == 0
    assert len(set(codes.tolist())) == 5
    assert number_codes(np.array(True)) == number_codes(1.0)


# ---- what 0.1.0 called them ------------------------------------------------------------------------------------


def test_former_names():
    """FINCH had two, by the processor; the shipped weights name PRISMA by its one."""
    assert {"98acb7e21954", "a6a51001e6b2"} <= set(former_names(preset("finch")))
    assert preset("finch").is_called("98acb7e21954")
    assert not preset("finch").is_called("3fb7492c45c2")
    assert preset("prisma").is_called("3fb7492c45c2")
    assert not preset("finch").replace(ratio=2).is_called("98acb7e21954")
    # a sensor of one's own: centres 500 and 600 nm, widths 10 nm, as 0.1.0 named it
    own = Sensor(response=GaussianResponse(centre_nm=[500, 600], width_nm=[10, 10]))
    assert own.is_called("f7f037767dab")
    assert "98acb7e21954" in preset("finch").describe()["former_hash"]


def test_shipped_weights_name_their_sensor(root):
    cards = [json.loads(path.read_text()) for path in (root / "pansharpen" / "pretrained").glob("*.json")]
    assert cards
    for card in cards:
        assert preset(card["sensor"]).is_called(card["sensor_hash"])


# ---- scenes ----------------------------------------------------------------------------------------------------


def test_scenes_are_named_by_what_was_asked_for(monkeypatch):
    cube = scene((20, 30), seed=4)
    name = cube_fingerprint(cube)
    assert name == "976c88155cd6"
    monkeypatch.setattr(type(cube.data), "read", lambda *_: pytest.fail("computed"))
    assert cube_fingerprint(scene((20, 30), seed=4).replace(name="x", source="y")) == name
    others = [scene((20, 30), seed=5), scene((30, 20), seed=4), scene((20, 30), seed=4, illumination=False),
              scene((20, 30), wavelength_nm=np.linspace(400, 2500, 211) + 0.1, seed=4),
              cube.replace(scale_factor=2.0), cube.replace(good=np.arange(211) > 0)]  # fmt: skip
    assert len({name, *map(cube_fingerprint, others)}) == 7


def test_stored_cubes_are_named_by_their_values(tmp_path):
    cube = scene((20, 30), seed=4).load()
    name = cube_fingerprint(cube)
    assert cube_fingerprint(cube.replace(data=cube.data.astype(">f4"))) == name
    save_cube(cube, tmp_path / "x.h5")
    assert cube_fingerprint(open_cube(tmp_path / "x.h5")) == name
    other = cube.data.copy()
    other[3, 4, 5] = np.nextafter(other[3, 4, 5], 1)
    assert cube_fingerprint(cube.replace(data=other)) != name
    with_pan = cube.replace(pan=scene((40, 60), wavelength_nm=[550.0], seed=4))
    assert cube_fingerprint(with_pan) != name
