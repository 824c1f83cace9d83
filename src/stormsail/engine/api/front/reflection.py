"""`grpc.reflection.v1alpha.ServerReflection`: what the server speaks, for tools like grpcurl."""

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError
from google.rpc.code_pb2 import Code
from grpc_reflection.v1alpha import reflection_pb2

from stormsail.engine.api.front.calls import Call
from stormsail.engine.api.front.front import Route
from stormsail.engine.core.errors import InvalidArgument

SERVICE_NAME: Final[str] = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name
_Answer: Final = reflection_pb2.ServerReflectionResponse


class Reflection:
    """Answers from the descriptors that this process has loaded."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = sorted({*services, SERVICE_NAME})
        self._pool = descriptor_pool.Default()

    def routes(self) -> list[Route]:
        """Return its methods."""
        return [Route(f"/{SERVICE_NAME}/ServerReflectionInfo", stream=self._info)]

    async def _info(self, _: Call, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for body in requests:
            try:
                request = reflection_pb2.ServerReflectionRequest.FromString(body)
            except DecodeError:
                raise InvalidArgument("the request is no ServerReflectionRequest") from None
            answer = self._answer(request)
            answer.valid_host = request.host
            answer.original_request.CopyFrom(request)
            told: bytes = answer.SerializeToString()
            yield told

    def _answer(self, request: Any) -> Any:
        pool = self._pool
        try:
            match request.WhichOneof("message_request"):
                case "list_services":
                    answer = _Answer()
                    for name in self._services:
                        answer.list_services_response.service.add().name = name
                    return answer
                case "file_by_filename":
                    return _files(pool.FindFileByName(request.file_by_filename))
                case "file_containing_symbol":
                    return _files(pool.FindFileContainingSymbol(request.file_containing_symbol))
                case "file_containing_extension":
                    asked = request.file_containing_extension
                    extended = pool.FindMessageTypeByName(asked.containing_type)
                    extension: Any = pool.FindExtensionByNumber(extended, asked.extension_number)
                    return _files(extension.file)
                case "all_extension_numbers_of_type":
                    extended = pool.FindMessageTypeByName(request.all_extension_numbers_of_type)
                    answer = _Answer()
                    answer.all_extension_numbers_response.base_type_name = extended.full_name
                    numbers = sorted(extension.number for extension in pool.FindAllExtensions(extended))
                    answer.all_extension_numbers_response.extension_number.extend(numbers)
                    return answer
        except KeyError:
            return _refused(Code.NOT_FOUND, "no such file, symbol or extension here")
        return _refused(Code.INVALID_ARGUMENT, "the request asks for nothing")


def _refused(code: int, text: str) -> Any:
    answer = _Answer()
    answer.error_response.error_code = code
    answer.error_response.error_message = text
    return answer


def _files(wanted: Any) -> Any:
    """Return a file and all that it needs: tools ask once."""
    found: dict[str, Any] = {}
    waiting = [wanted]
    while waiting:
        file = waiting.pop()
        if file.name not in found:
            found[file.name] = file
            waiting.extend(file.dependencies)
    answer = _Answer()
    for file in found.values():
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        answer.file_descriptor_response.file_descriptor_proto.append(proto.SerializeToString())
    return answer
