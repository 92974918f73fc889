"""Print every table: ``make bench``."""

from benchmarks import captures, maps, speed, truth

results = captures.main()
print()
chosen = {device: (r["auto"].model, r["auto"].settings) for device, r in results.items()}
speed.main(chosen)
print()
truth.main()
print()
maps.main()
