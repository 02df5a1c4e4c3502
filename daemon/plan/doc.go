// Package plan makes a plan of the files of several layers: image sections with
// canonical JSON, or a list of problems, each with its layer, file, line, column
// and key, what is wrong, and what to do. It is a pure function of the files: it
// reads nothing, starts no goroutine, and looks at no clock. What a Maker keeps
// makes it fast and changes no plan.
//
// Imports go one way: plan, then layer, schema and decode, then tree.
//
// # Files
//
//   - NAME.json, NAME.yaml, NAME.yml and NAME.toml are the config NAME, which
//     keeps its folders: team/matchmaker.yaml is team/matchmaker. Extensions may be
//     in capitals.
//   - A file that an opaque glob matches is an opaque config whatever its
//     format is, and its bytes stay as they are. An opaque file may not be
//     empty, as a truncated one would be.
//   - NAME.schema.json is the JSON Schema of the config NAME (draft 2020-12
//     unless its $schema says otherwise) and no config itself. It may be a .yaml,
//     .yml or .toml file, too. It refers to other files of the plan in these
//     formats, and to nothing else: neither
//     the disk nor the network is ever asked. Shared definitions belong in a
//     schema file without a config, which is fine as long as another schema
//     refers to it. The format keyword asserts what its draft says: nothing in
//     2020-12.
//   - Every other file is skipped.
//
// Two files of one layer for one name are an error, and so are two schemas. The prefix of a layer stands
// before all of these names, and before the paths that schemas refer to; globs and
// problems have paths as the source has them.
//
// # Layers
//
// Later layers win. Package layer has the rules for merging documents. An opaque
// config replaces an opaque one; an opaque config and a document of one name are
// an error, unless a document between them that is just null removes the lower one.
// Of a schema file the highest layer's is applied, whole, and to the merged
// document; a violation is reported where the value was written. A reference leads to
// the schema file with that $id, else to the file of that path; of several layers'
// files the highest one's is taken.
//
// An error in a file of a layer is the layer's own: syntax, name, the bounds of a
// file, two files for one name. Such a layer goes on with its accepted snapshot, and
// the others move on. What is wrong with the layers together refuses the plan:
// merging, schemas, references, what a merged config may have.
//
// # What a config may hold
//
// The top level is a mapping or a list; in all layers but the lowest it may be
// null. An empty file is an error, so that a
// truncated one is not taken for a config without keys. Integers are exact from
// -2^63 to 2^64-1, floats are finite and stay floats. Refused, with the place:
// integers and floats beyond that, keys that a mapping has twice, two paths
// that join to one dotted key, text that is not UTF-8, several YAML documents
// in one file, YAML tags without a counterpart in JSON, and YAML keys that are
// neither strings nor integers. What YAML readers take differently is a warning. Merge keys are followed: a mapping's own keys
// win, then the earlier of several merged mappings. Dates and times are strings:
// as written in YAML, in RFC 3339 form in TOML. Keys that differ only in case
// are a warning, because encoding/json takes them for one in a typed reader.
//
// # Bounds
//
// Input is taken to be hostile. A config nests at most [image.MaxDepth] deep
// and has at most 1,000,000 values, 64 MiB of keys and strings, and 256 MiB of
// dotted keys, with YAML aliases expanded; all of this also holds for what layers
// merge to. A JSON file has at most 64 MiB, a
// YAML or TOML file 4 MiB, a schema file 1 MiB and 50,000 values, a schema with the
// files that it refers to 20,000 subschemas,
// with regular expressions of at most 4 KiB each and 200,000 instructions
// together. Validating a config takes at most 5,000,000 steps, which are counted
// before they are taken, a violation after, and validating all of them 20 times as many. At most 20
// errors and 20 warnings are reported for each file. [Maker.Memory] says beforehand
// what decoding takes; all files together may take 4 GiB of it. Steps and memory
// are counted alike on every host and whatever a Maker has decoded before, so that
// a plan that passes on one host passes on all. Nothing here blocks, and a panic
// in a parser, in merging or in a schema becomes a problem of the file it happened in.
package plan
