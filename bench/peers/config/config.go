// Package config is the one config that all contestants are given, in three
// sizes, and what is read of it: the setting Key, whose value tells the version.
package config

import (
	"encoding/json"
	"fmt"
	"strings"
)

// What is read.
const (
	Name = "matchmaker"
	Key  = "weights.elo"
)

// Sizes in bytes. The smallest has 30 settings, and the larger ones more of the
// same kind.
var Sizes = []int{1 << 10, 64 << 10, 1 << 20}

// MaxVersion bounds versions, so that all documents of a size are of one length.
const MaxVersion = 89_999

// Elo is the value of Key in a version, and Version undoes it.
func Elo(version int) int { return 10_000 + version }

// Version is the one whose Elo this is.
func Version(elo int) int { return elo - 10_000 }

// Settings are what an application decodes the config into.
type Settings struct {
	Version int `json:"version"`
	Weights struct {
		Elo   int     `json:"elo"`
		Ping  float64 `json:"ping"`
		Party float64 `json:"party"`
	} `json:"weights"`
}

// Decode decodes a document.
func Decode(document []byte) (*Settings, error) {
	s := new(Settings)
	return s, json.Unmarshal(document, s)
}

// Document is a version of the config as JSON, of about size bytes.
func Document(size, version int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `{"version":%d,"weights":{"elo":%d,"ping":0.35,"party":0.2}`, Elo(version), Elo(version))
	for _, f := range extras(size) {
		fmt.Fprintf(&b, `,%q:%q`, f.Key, f.Value)
	}
	b.WriteByte('}')
	return []byte(b.String())
}

// Field is a setting by its dotted key, as stores without documents have it.
type Field struct {
	Key, Value string
	Changes    bool // from version to version
}

// Fields are the settings of a version.
func Fields(size, version int) []Field {
	elo := fmt.Sprint(Elo(version))
	return append([]Field{
		{"version", elo, true}, {Key, elo, true}, {"weights.ping", "0.35", false}, {"weights.party", "0.2", false},
	}, extras(size)...)
}

// extras are the settings that fill a config up. There are 26 of 20 bytes in
// the smallest.
func extras(size int) []Field {
	n := 26
	for n*(len(`,"setting_00000":""`)+20)+100 < size-40 {
		n++
	}
	fields := make([]Field, n)
	for i := range fields {
		fields[i] = Field{Key: fmt.Sprintf("setting_%05d", i), Value: strings.Repeat(string(rune('a'+i%26)), 20)}
	}
	return fields
}
