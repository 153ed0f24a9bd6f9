"""Asks for the summary as a viewer, by a gRPC library of another make: viewer.py ADDRESS CA CERT KEY.

What it knows of the messages it learns from the server's reflection. Prints host names.
"""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


def read(path):
    with open(path, "rb") as file:
        return file.read()


address, ca, certificate, key = sys.argv[1:]
credentials = grpc.ssl_channel_credentials(read(ca), read(key), read(certificate))
with grpc.secure_channel(address, credentials) as channel:
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    service = pool.FindServiceByName("rowcall.v1.SummaryService")
    method = service.FindMethodByName("Summary")
    call = channel.unary_unary(
        f"/{service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    answer = call(GetMessageClass(method.input_type)(), timeout=30)
    for group in answer.hardware.groups:
        for host in group.hosts:
            print(host.host_name)
