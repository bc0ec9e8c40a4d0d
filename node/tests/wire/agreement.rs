//! Every API, every version, both directions: our codec and the crate `kafka-protocol`, which was
//! generated independently from Kafka's own definitions, read the same bytes and write the same
//! bytes.

use crate::{
    codecs::{Codec, REQUESTS, RESPONSES},
    samples::{Sampler, apis},
    schema::{Api, Struct},
};
use bytes::Bytes;
use highwater_node::wire::{ApiKey, Reader};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Random bodies per API, version and direction.
const SAMPLES: u64 = 60;

/// The versions that the other codec lacks: their frames are in `golden_groups.rs`.
const GOLDEN_ONLY: [(&str, i16); 2] = [("OffsetCommitRequest", 10), ("OffsetFetchRequest", 10)];

/// What the other codec adds to InitProducerId: fields of version 6, which is not served (KIP-939
/// is unstable).
const NOT_SERVED: [[&str; 2]; 4] = [
    ["enable_2_pc:", "false"],
    ["keep_prepared_txn:", "false"],
    ["ongoing_txn_producer_id:", "-1"],
    ["ongoing_txn_producer_epoch:", "-1"],
];

fn agree(api: &Api, codec: &Codec, body: &Struct) {
    for version in api.versions.first..=api.versions.last {
        let theirs_knows = (codec.theirs_knows)(version);
        let golden_only = GOLDEN_ONLY.contains(&(&*body.name, version));
        assert!(theirs_knows != golden_only, "{} {version}: needs golden frames", body.name);
        for seed in 0..SAMPLES {
            let mut sample = Vec::new();
            Sampler {
                random: &mut ChaCha8Rng::seed_from_u64(seed),
                version,
                flexible: version >= api.flexible_from,
                unknown_tags: false,
            }
            .structure(body, &mut sample);
            let sample = Bytes::from(sample);
            let context = || format!("{} version {version}, seed {seed}", body.name);

            let reader = Reader::new(sample.clone(), 1 << 20);
            let ours = (codec.ours)(reader, version)
                .unwrap_or_else(|error| panic!("{}: {error}", context()));
            assert_eq!(ours, sample, "{}: our encoding", context());
            if golden_only {
                continue;
            }
            let theirs = (codec.theirs)(ours, version)
                .unwrap_or_else(|error| panic!("{}: {error}", context()));
            assert_eq!(theirs, sample, "{}: the other encoding", context());
            let [our_fields, mut their_fields] = (codec.fields)(sample, version);
            while NOT_SERVED.iter().any(|field| their_fields.ends_with(&field.map(String::from))) {
                their_fields.truncate(their_fields.len() - 2);
            }
            assert_eq!(our_fields, their_fields, "{}: the fields", context());
        }
    }
}

#[test]
fn requests_agree_with_an_independent_codec() {
    for (api, codec) in apis().iter().zip(REQUESTS) {
        assert_eq!(api.key, codec.key as i16);
        agree(api, codec, &api.request);
    }
}

#[test]
fn responses_agree_with_an_independent_codec() {
    for (api, codec) in apis().iter().zip(RESPONSES) {
        assert_eq!(api.key, codec.key as i16);
        agree(api, codec, &api.response);
    }
}

#[test]
fn header_versions_agree_with_an_independent_codec() {
    for (request, response) in REQUESTS.iter().zip(RESPONSES) {
        let key: ApiKey = request.key;
        for version in key.valid_versions().iter() {
            assert_eq!(key.request_header_version(version), (request.their_header)(version));
            assert_eq!(key.response_header_version(version), (response.their_header)(version));
        }
    }
}

#[test]
fn every_api_of_the_schema_is_in_the_table() {
    for (api, codec) in apis().iter().zip(REQUESTS) {
        let row = codec.key.api();
        assert_eq!(api.name, row.name);
        assert_eq!(
            (api.versions.first, api.versions.last),
            (row.versions.first, row.versions.last)
        );
        assert_eq!(api.request_limit, row.request_limit);
        assert_eq!(api.advertised.first, row.advertised.first);
    }
}
