# Snakemake looks anew at what it can start some time after every look ("re-evaluation", for the sake of its rate limit). But
# every job that ends causes a look as well, and with that another such series: after a few hundred jobs, looks take all the
# time of Snakemake, and each has a thread (9.27; its issue 2354, pull request 3744). One series is enough; and its thread
# need not be waited for at the end, which takes a second.

import threading

from snakemake.scheduling.job_scheduler import JobScheduler


def one_look_later(scheduler, delay):
    """Have the scheduler look again after a delay (s), unless that is about to happen already."""
    if getattr(scheduler, "pending_look", None) is None:

        def look():
            scheduler.pending_look = None  # first: the look that follows asks for the next one
            scheduler._open_jobs.release()

        scheduler.pending_look = threading.Timer(delay, look)
        scheduler.pending_look.daemon = True
        scheduler.pending_look.start()


if hasattr(JobScheduler, "_schedule_reevalutation"):  # of later versions as well, as long as they are built like this
    JobScheduler._schedule_reevalutation = one_look_later
