package cli

import (
	"strings"
	"testing"
)

func TestByteSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "4096": 4096, "64KiB": 64 << 10, "64MiB": 64 << 20, "2GiB": 2 << 30, "512B": 512, "8589934591GiB": 8589934591 << 30,
		"9223372036854775807": 1<<63 - 1,
	} {
		var b ByteSize
		if err := b.Set(text); err != nil || int64(b) != want {
			t.Errorf("%s: %d, %v", text, b, err)
		}
		var again ByteSize
		if err := again.Set(b.String()); err != nil || again != b {
			t.Errorf("%s prints as %s", text, b.String())
		}
	}
	for _, text := range []string{
		"", "0", "-1", "+1", "1.5GiB", "64M", "64MB", "64 MiB", " 64MiB", "MiB", "1e6", "0x10", "64mib", "1_000", "KiBKiB", "1KiBMiB",
		"9223372036854775808", "8589934592GiB", "99999999999999999999", "٣",
	} {
		var b ByteSize
		if err := b.Set(text); err == nil || !strings.Contains(err.Error(), "64MiB") {
			t.Errorf("%q: %d, %v", text, b, err)
		}
	}
}
