"""HTTP exchanges by libcurl: the only adapter that sends requests and opens sockets."""

from worker.adapters.http.exchanges import CurlHttp
from worker.adapters.http.handle import Egress

__all__ = ["CurlHttp", "Egress"]
