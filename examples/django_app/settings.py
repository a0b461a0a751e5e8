"""The minimum that Django needs, and the two lines that elector-thread needs."""

SECRET_KEY = "only for this example"  # noqa: S105 - not a real secret
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
WSGI_APPLICATION = "wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}

INSTALLED_APPS = ["reports"]
INSTALLED_APPS += ["elector_thread.integrations.django"]

# Where ELECTOR_GET_URL is not set, as on your own machine, this process is the leader.
ELECTOR_THREAD = {"when_unconfigured": "lead"}
