//! `shardgate demo`: the main job in one process, without keys and network.
