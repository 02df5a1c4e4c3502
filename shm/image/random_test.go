package image

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// randomValue is the JSON text of a value that a config may hold, an object or
// array at the top, with white space and escapes. A key may be there twice.
func randomValue(random *rand.Rand, depth int) []byte {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	space := func() string { return pick("", "", "", " ", "\n", "\t\r ") }
	str := func() string {
		var b strings.Builder
		for range random.IntN(5) {
			b.WriteString(pick("a", "b", ".", "0", "é", "😀", "\x7f", `\n`, `\u0041`, `\ud83d\ude00`, `\"`, `\\`, `\/`, `\u0000`, `\u001F`))
		}
		return `"` + b.String() + `"`
	}
	number := func() string {
		switch random.IntN(6) {
		case 0:
			return strconv.FormatFloat(math.Float64frombits(random.Uint64()&^(1<<62)), pick("e", "f", "g")[0], -1, 64)
		case 1:
			return pick("-0", "-0.0", "1e5", "1E-7", "0.000001", "1e21", "123456789.125e3", "-1.50")
		case 2:
			return strconv.FormatUint(random.Uint64(), 10)
		case 3:
			return strconv.FormatInt(int64(random.Uint64()), 10)
		}
		return strconv.Itoa(random.IntN(100))
	}
	var b bytes.Buffer
	kind := random.IntN(8)
	if depth == 0 {
		kind %= 2
	} else if depth > 4 {
		kind = 2 + kind%6
	}
	b.WriteString(space())
	switch kind {
	case 0, 1:
		b.WriteByte("{["[kind])
		n := random.IntN(6)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			if kind == 0 {
				b.WriteString(space() + str() + space() + ":")
			}
			b.Write(randomValue(random, depth+1))
		}
		b.WriteString(space())
		b.WriteByte("}]"[kind])
	case 2, 3:
		b.WriteString(str())
	case 4:
		b.WriteString(pick("null", "true", "false"))
	default:
		b.WriteString(number())
	}
	b.WriteString(space())
	return b.Bytes()
}
