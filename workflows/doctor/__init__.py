"""doctor: looks at everything that a run stands on, and says how to mend what is broken.

    finding     what a check found, and what to do
    checks      the table of checks, and how they are carried out
    machine     OpenGL, GPU, sandbox, space, installed versions
    services    store, tracking server, Dagster
    ray_check   Ray: the cluster at RAY_ADDRESS, or a local one, which is started for it
    ray_probe   the process in which Ray is asked

Promises  nothing is changed but empty files that are deleted again; a check that hangs is given
          up, and the others are reported.
"""
