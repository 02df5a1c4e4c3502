package schema

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// formats are those that the library takes laxly, or uri-template too strictly. They are
// asserted in drafts up to 7.
var formats = map[string]func(string) error{
	"uri":           func(s string) error { return checkURI(s, true, false) },
	"iri":           func(s string) error { return checkURI(s, true, true) },
	"uri-reference": func(s string) error { return checkURI(s, false, false) },
	"iri-reference": func(s string) error { return checkURI(s, false, true) },
	"uri-template":  checkTemplate,
	"ipv4":          checkIPv4,
	"hostname":      checkHostname,
	"email":         checkEmail,
}

func registerFormats(c *jsonschema.Compiler) {
	for name, check := range formats {
		c.RegisterFormat(&jsonschema.Format{Name: name, Validate: func(v any) error {
			if s, ok := v.(string); ok {
				return check(s)
			}
			return nil
		}})
	}
}

// split takes a URI apart as RFC 3986, appendix B has it.
var split = regexp.MustCompile(`^(?:([^:/?#]*):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?$`)

var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*$`)

// checkURI checks a URI by RFC 3986; wide, an IRI by RFC 3987.
func checkURI(s string, absolute, wide bool) error {
	if err := checkCharacters(s, `<>"{}|\^`+"`", wide); err != nil {
		return err
	}
	parts := split.FindStringSubmatchIndex(s)
	part := func(i int) (string, bool) {
		if parts == nil || parts[2*i] < 0 {
			return "", false
		}
		return s[parts[2*i]:parts[2*i+1]], true
	}
	name, has := part(1)
	switch {
	case has && !scheme.MatchString(name):
		return fmt.Errorf("%q is not a scheme", name)
	case absolute && !has:
		return errors.New("it has no scheme, as https: is one")
	}
	authority, _ := part(2)
	rest := s
	if authority != "" {
		if err := checkAuthority(authority); err != nil {
			return err
		}
		rest = s[parts[5]:]
	}
	if strings.ContainsAny(rest, "[]") {
		return errors.New("a bracket outside of an IPv6 address")
	}
	if _, fragment, _ := strings.Cut(s, "#"); strings.Contains(fragment, "#") {
		return errors.New("a second '#'")
	}
	return nil
}

func checkAuthority(authority string) error {
	host := authority[strings.LastIndexByte(authority, '@')+1:]
	user := authority[:len(authority)-len(host)]
	port := ""
	if bracket, ok := strings.CutPrefix(host, "["); ok {
		address, after, closed := strings.Cut(bracket, "]")
		ip, err := netip.ParseAddr(address)
		if future := strings.HasPrefix(strings.ToLower(address), "v"); !closed || !future && (err != nil || !ip.Is6() || ip.Zone() != "") {
			return errors.New("what is in brackets is not an IPv6 address")
		}
		host, port = "", after
	} else if i := strings.IndexByte(host, ':'); i >= 0 {
		host, port = host[:i], host[i:]
	}
	if strings.ContainsAny(user+host, "[]") {
		return errors.New("a bracket outside of an IPv6 address")
	}
	if port != "" && (port[0] != ':' || strings.Trim(port[1:], "0123456789") != "") {
		return errors.New("the port is not a number")
	}
	return nil
}

// checkCharacters refuses what cannot stand in a URI, and a '%' without two digits.
func checkCharacters(s, refused string, wide bool) error {
	for i, r := range s {
		switch {
		case r <= ' ' || r == 0x7f || strings.ContainsRune(refused, r) || r > 0x7f && !wide:
			return fmt.Errorf("the character %q; write it percent-encoded", r)
		case r == '%' && (len(s) < i+3 || !isHex(s[i+1]) || !isHex(s[i+2])):
			return errors.New("a '%' without two hexadecimal digits")
		}
	}
	return nil
}

func isHex(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }

// variable is one of those that a template has between braces, by RFC 6570.
var variable = regexp.MustCompile(`^(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})(?:\.?(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2}))*(?::[1-9][0-9]{0,3}|\*)?$`)

func checkTemplate(s string) error {
	for s != "" {
		literal, rest, open := strings.Cut(s, "{")
		if err := checkCharacters(literal, `<>"'}|\^`+"`", true); err != nil {
			return err
		}
		if !open {
			return nil
		}
		inner, after, closed := strings.Cut(rest, "}")
		if !closed {
			return errors.New("a '{' without its '}'")
		}
		names := strings.TrimLeft(inner, "+#./;?&=,!@|")
		for name := range strings.SplitSeq(names, ",") {
			if !variable.MatchString(name) {
				return fmt.Errorf("{%s} is not an expression", inner)
			}
		}
		if len(inner)-len(names) > 1 {
			return fmt.Errorf("{%s} is not an expression", inner)
		}
		s = after
	}
	return nil
}

func checkIPv4(s string) error {
	if ip, err := netip.ParseAddr(s); err != nil || !ip.Is4() {
		return errors.New("not four decimals from 0 to 255 without leading zeros")
	}
	return nil
}

var label = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

func checkHostname(s string) error {
	if len(s) > 253 {
		return errors.New("more than 253 bytes")
	}
	for part := range strings.SplitSeq(s, ".") {
		if !label.MatchString(part) {
			return fmt.Errorf("%q is not 1 to 63 letters, digits and inner hyphens", part)
		}
	}
	return nil
}

var (
	atoms  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$")
	quoted = regexp.MustCompile(`^"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"$`)
)

func checkEmail(s string) error {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return errors.New("it has no @")
	}
	local, domain := s[:at], s[at+1:]
	if len(local) > 64 || !atoms.MatchString(local) && !quoted.MatchString(local) {
		return errors.New("what stands before the @ is not the name of a mailbox")
	}
	if literal, ok := strings.CutPrefix(domain, "["); ok {
		literal, closed := strings.CutSuffix(literal, "]")
		if _, err := netip.ParseAddr(strings.TrimPrefix(literal, "IPv6:")); err != nil || !closed {
			return errors.New("what stands in brackets is not an address")
		}
		return nil
	}
	return checkHostname(domain)
}
