"""For servers: ``uvicorn asgi:application``."""

import os

from django.core.asgi import get_asgi_application

from elector_thread.integrations.uvicorn import steps_down

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
# uvicorn runs no Python exit handlers at shutdown: the lifespan has to step down
application = steps_down(get_asgi_application())
