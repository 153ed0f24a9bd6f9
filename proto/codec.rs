//! How messages become bytes: as prost does it, with buffers that start small.
//!
//! tonic's own start with 8 KiB each way and are kept as long as a stream lives, which is forever
//! here: they would be a quarter of what a connected agent costs the aggregator. Buffers grow to
//! what a message needs, whatever they start with.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstCodec;

/// Room for a live sample with its frame's head.
const BUFFER_BYTES: usize = 256;
/// How much of several small messages goes out at once; tonic's own.
const YIELD_BYTES: usize = 32 * 1024;

/// The codec of all our services.
#[derive(Debug)]
pub struct SmallBuffers<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }
}
