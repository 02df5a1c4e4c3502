// Package decode turns the files of one revision into configs: image sections
// with canonical JSON, or a list of problems, each with its file, line, column
// and key, what is wrong, and what to do.
//
// # Files
//
//   - NAME.json, NAME.yaml, NAME.yml and NAME.toml are the config NAME, which
//     keeps its folders: team/matchmaker.yaml is team/matchmaker.
//   - A file that an opaque glob matches is an opaque config whatever its
//     format is, and its bytes stay as they are. An opaque file may not be
//     empty, as a truncated one would be.
//   - NAME.schema.json is the JSON Schema of the config NAME (draft 2020-12
//     unless its $schema says otherwise) and no config itself. What it refers
//     to are other .json files of the same revision, and nothing else: neither
//     the disk nor the network is ever asked. Shared definitions belong in a
//     schema file without a config, which is fine as long as another schema
//     refers to it. The format keyword asserts what its draft says: nothing in
//     2020-12.
//   - Every other file is skipped.
//
// Two files for one name are an error.
//
// # What a config may hold
//
// The top level is a mapping or a list. An empty file is an error, so that a
// truncated one is not taken for a config without keys. Integers are exact from
// -2^63 to 2^64-1, floats are finite and stay floats. Refused, with the place:
// integers and floats beyond that, keys that a mapping has twice, two paths
// that join to one dotted key, text that is not UTF-8, several YAML documents
// in one file, YAML tags without a counterpart in JSON, and YAML keys that are
// neither strings nor integers. Merge keys are followed: a mapping's own keys
// win, then the earlier of several merged mappings. Dates and times are strings:
// as written in YAML, in RFC 3339 form in TOML. Keys that differ only in case
// are a warning, because encoding/json takes them for one in a typed reader.
//
// # Bounds
//
// Input is taken to be hostile. A config nests at most [image.MaxDepth] deep
// and has at most 1,000,000 values, 64 MiB of keys and strings, and 256 MiB of
// dotted keys, with YAML aliases expanded. A JSON file has at most 64 MiB, a
// YAML or TOML file 4 MiB, a schema 1 MiB, 50,000 values and 5,000 subschemas,
// with regular expressions of at most 4 KiB each and 200,000 instructions
// together. Validating a config takes at most 5,000,000 steps, which are counted
// before they are taken: most are well below a microsecond, and the worst that a
// schema can do with all of them is some seconds. At most 20 errors and 20
// warnings are reported for each file. [Decoder.Memory] says beforehand what
// decoding takes. Nothing here blocks or starts goroutines, and a panic in a
// parser becomes a problem of the file it happened in.
package decode
