//! No bytes make a decoder panic, take long or take much memory; `carrick_core::conformance::decoder` tells how to widen
//! a run and how to repeat one.

use carrick_transport_libp2p::decoders;

carrick_core::decoder_suite!(decoders::all(); frames frame swarm_key known page address bitswap);
