"""Numbers of iLQG that no problem changes, for torch and for compiled code alike.

The numbers of the regularisation are Tassa's; see `planners.ilqg`.
"""

SMALLEST_STEP = 1e-2
"""The last of the step sizes. Tassa's 1e-3 leads to the same plans, with more roll-outs."""
ACCEPTANCE = 1e-4
"""A step is taken if the cost falls by more than this share of the expected reduction. The share is
small, since every step that lowers the cost is welcome."""
FULL_STEP = 0.5
"""The full step is taken at once if the cost falls by at least this share of the expected
reduction, since the model then holds that far; else the cheapest of all steps is taken."""
LEAST_LAMBDA = 1e-6
"""A smaller lambda becomes zero, the full Newton step. This is also the first value tried when
lambda must grow from zero."""
GROWTH = 1.6
"""Factor by which lambda's own rate of change grows, so that lambda moves faster and faster."""
