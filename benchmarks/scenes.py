"""Which real scenes may set a constant, and which may only rank: no scene does both from 0.2 on.

Ranked scenes stand in docs/results.md. Thresholds, priors, default settings and weights are chosen on tuning scenes (or
procedural ones) alone. 0.1.0 knew no such split: some of its methods' thresholds were set with ranked scenes in sight.
"""

#: Ranked, never tuned on.
RANKED = (
    "samson", "enmap_potsdam_a", "salton_sea", "muufl_gulfport_crop", "pavia_centre_crop", "sandiego_airport",
)  # fmt: skip
#: For tuning.
TUNING = (
    "jasper_ridge", "enmap_potsdam_b", "aviris_gator_vi", "abu_airport_1", "abu_beach_1", "abu_beach_2", "abu_urban_1",
    "abu_urban_4", "pavia_university_lowres", "fenix_rock_outcrop",
)  # fmt: skip
#: Tuning scenes for methods, held out where the index at full resolution was made.
HELD_OUT = ("abu_airport_2", "abu_urban_3")
