//! The gRPC services of the one port, and their health.

use std::sync::Arc;

use rowcall_core::proto::v1::admin_service_server::AdminServiceServer;
use rowcall_core::proto::v1::enrollment_service_server::EnrollmentServiceServer;
use rowcall_core::proto::v1::summary_service_server::SummaryServiceServer;
use rowcall_core::proto::v1::telemetry_service_server::TelemetryServiceServer;
use rowcall_core::proto::{FILE_DESCRIPTOR_SET, MAX_FRAME_BYTES};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::admin::Admin;
use crate::database::Database;
use crate::enrollment::Enrollment;
use crate::summary::Summary;
use crate::telemetry::Telemetry;

/// Requests of readers are small.
const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// The services whose health is the database's.
pub(super) const SERVICES: [&str; 4] = [
    "rowcall.v1.TelemetryService",
    "rowcall.v1.SummaryService",
    "rowcall.v1.AdminService",
    "rowcall.v1.EnrollmentService",
];

/// All of them.
pub(super) fn services(
    telemetry: Telemetry,
    summary: Summary,
    admin: Admin,
    enrollment: Enrollment,
    health: &HealthReporter,
) -> Routes {
    let health = HealthServer::new(HealthService::from_health_reporter(health.clone()));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let built = "the descriptor sets are compiled in";
    Routes::new(
        TelemetryServiceServer::new(telemetry)
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES)
            // The limit above holds for what it inflates to.
            .accept_compressed(CompressionEncoding::Gzip),
    )
    .add_service(
        SummaryServiceServer::new(summary)
            .max_decoding_message_size(MAX_REQUEST_BYTES)
            // For clients that ask for it.
            .send_compressed(CompressionEncoding::Gzip),
    )
    .add_service(AdminServiceServer::new(admin).max_decoding_message_size(MAX_REQUEST_BYTES))
    // Renew and Check only: see the table of who may call what.
    .add_service(
        EnrollmentServiceServer::new(enrollment).max_decoding_message_size(MAX_REQUEST_BYTES),
    )
    .add_service(health)
    .add_service(reflection().build_v1().expect(built))
    .add_service(reflection().build_v1alpha().expect(built))
}

/// Health follows the database; the empty name says that the process lives.
pub(super) async fn mirror(database: Arc<Database>, health: HealthReporter) {
    let mut reachable = database.reachable();
    loop {
        let status = if *reachable.borrow_and_update() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in SERVICES {
            health.set_service_status(service, status).await;
        }
        if reachable.changed().await.is_err() {
            return;
        }
    }
}
