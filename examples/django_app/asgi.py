"""For servers: ``uvicorn asgi:application``."""

import os

from django.core.asgi import get_asgi_application

from elector_thread.integrations.uvicorn import steps_down

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
# uvicorn ends without Python's exit handlers: only a lifespan can step down
application = steps_down(get_asgi_application())
