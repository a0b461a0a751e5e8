"""One page, and the health endpoint."""

from django.urls import path
from reports.views import index

from elector_thread.integrations.django.views import health

urlpatterns = [path("", index), path("elector", health)]
