"""Run inside an environment with krippendorff and statsmodels: python check_agreement.py CASES.json.

CASES holds tables of ratings (units x raters, null = not rated). Prints alpha and kappa of each by these packages.
"""

import json
import math
import sys
from pathlib import Path

import krippendorff
import numpy as np
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

results = []
for table in json.loads(Path(sys.argv[1]).read_text()):
    names = sorted({value for row in table for value in row if value is not None})
    numbers = np.array([[math.nan if v is None else names.index(v) for v in row] for row in table])
    result = {"alpha": krippendorff.alpha(reliability_data=numbers.T, level_of_measurement="nominal")}
    if not np.isnan(numbers).any():
        result["fleiss"] = fleiss_kappa(aggregate_raters(numbers.astype(int))[0])
    results.append(result)
print(json.dumps(results))
