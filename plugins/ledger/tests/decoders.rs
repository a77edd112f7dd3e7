//! No bytes make a decoder panic, take long or take much memory; `carrick_core::conformance::decoder` tells how to widen
//! a run and how to repeat one.

carrick_core::decoder_suite!(carrick_plugin_ledger::decoders::all(); heads page record);
