"""The least that Django needs, and the two lines that elector-thread needs."""

SECRET_KEY = "only for this example"  # noqa: S105 - it is one
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
WSGI_APPLICATION = "wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}

INSTALLED_APPS = ["reports"]
INSTALLED_APPS += ["elector_thread.integrations.django"]

# Without an elector (ELECTOR_GET_URL), as on your own machine, this process leads.
ELECTOR_THREAD = {"when_unconfigured": "lead"}
