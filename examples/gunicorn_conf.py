"""gunicorn -c examples/gunicorn_conf.py wsgi_app:application"""

from elector_thread.integrations.gunicorn import post_worker_init, worker_exit

__all__ = ["post_worker_init", "worker_exit"]

workers = 2
