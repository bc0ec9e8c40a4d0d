"""What the package leaves out of its tests and its fixtures import: brokers that others started."""


class ExternalService:
    """A broker that runs already and is nobody's to stop."""

    def __init__(self, host, port):
        self.host = host
        self.port = port

    def open(self):
        pass

    def dump_logs(self):
        pass

    def stop(self):
        pass


class SpawnedService:
    """Only fixtures without an external broker make one."""

    def __init__(self, *arguments, **settings):
        raise RuntimeError("the tests were to use the broker at KAFKA_URI")
