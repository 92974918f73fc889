"""Reports and figures: self-contained, escaped, the same bytes for the same input."""

import numpy as np
import pytest

from calibration import figures
from hsitools.commands.options import drawn
from hsitools.plot import new_figure, plain_log_ticks, png_bytes, save_figure
from hsitools.report import Picture, Report, Section, Table


def page(**changes):
    table = Table(columns=["a", "<b>"], rows=[["1", "x & y"], ["2", "z"]], marked=frozenset({1}))
    figure, axes = new_figure()
    axes.plot([1, 2], [3, 4])
    sections = [
        Section(title="One", blocks=["text <script>", table, Picture(png=png_bytes(figure), caption="a curve")])
    ]
    fields = {"title": "T", "lead": "L", "headlines": [("0.1", "RMSE")], "sections": sections}
    return Report(**{**fields, **changes}).html()


def test_text_is_escaped():
    html = page(title="<img onerror=x>")
    assert "<img onerror" not in html
    assert "text &lt;script&gt;" in html
    assert "x &amp; y" in html


def test_self_contained():
    html = page()
    assert "data:image/png;base64," in html
    assert "http://" not in html
    assert "https://" not in html


def test_same_figure_same_bytes(tmp_path):
    first = page()
    assert first == page()
    figure, _ = new_figure()
    save_figure(figure, tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_figures_have_units():
    from calibration import simulated_bench as bench
    from calibration.pipeline import characterize
    from hsitools.sensor.transmittance import TransmittanceModel

    for n in (5, 40):
        rng = np.random.default_rng(n)
        instrument = bench.simulate_instrument(n, rng=rng, opd_step_um=0.5, rows=5, pitch=20)
        capture = bench.capture(instrument, bench.lines(101), rng=rng)
        model = TransmittanceModel(degree_gain=2, degree_reflectivity=2)
        found = characterize(capture, model)
        drawn = figures.all_figures(found, capture)
        assert set(drawn) == {"fit", "opd_law", "parameters", "rmse", "residual", "uncertainty"}
        labels = {name: [a.get_xlabel() + a.get_ylabel() for a in fig.axes] for name, (fig, _) in drawn.items()}
        assert any("/ nm" in text for text in labels["fit"])
        assert any("/ µm" in text for text in labels["opd_law"])
        for figure, caption in drawn.values():
            assert caption
            assert len(png_bytes(figure, dpi=40)) > 2000


@pytest.mark.parametrize(
    ("ends", "labels"),
    [((1.06, 1.84), ["1.2", "1.4", "1.6", "1.8"]), ((0.6, 11), ["1", "2", "5", "10"]), ((1e-3, 1e3), None)],
)
def test_a_short_logarithmic_axis_has_plain_numbers(ends, labels):
    figure, ax = new_figure(4, 3)
    ax.semilogy(ends)
    plain_log_ticks(ax.yaxis)
    figure.canvas.draw()
    low, high = ax.get_ylim()
    ticks = [*zip(ax.yaxis.get_ticklocs(), ax.yaxis.get_ticklabels(), strict=True)]
    shown = [label.get_text() for place, label in ticks if low <= place <= high]
    assert shown == labels if labels else all("10^" in label for label in shown)
    assert not [label.get_text() for label in ax.yaxis.get_minorticklabels() if label.get_text()]


def test_drawing_that_takes_long_is_said(capsys, monkeypatch):
    for seconds, said in ((0.9, ""), (1.6, "hsi: note: page: drawn in 1.6 s\n")):
        times = iter([5.0, 5.0 + seconds])
        with monkeypatch.context() as patch:
            patch.setattr("hsitools.commands.options.time.perf_counter", lambda times=times: next(times))
            with drawn("page"):
                pass
        assert capsys.readouterr().err == said
