package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Main()
	m.Run()
}

var echoPart = Register("test-echo", func(_ context.Context, args []string, in *bufio.Reader, out io.Writer) error {
	if err := Ready(out, strings.Join(args, "\n")); err != nil {
		return err
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil
		}
		if _, err := io.WriteString(out, line); err != nil {
			return err
		}
	}
})

var failingPart = Register("test-failing", func(context.Context, []string, *bufio.Reader, io.Writer) error {
	return errors.New("this is what the test wants to see")
})

var hangingPart = Register("test-hanging", func(ctx context.Context, _ []string, _ *bufio.Reader, _ io.Writer) error {
	<-ctx.Done()
	return nil
})

func TestPart(t *testing.T) {
	p, err := Start(t.Context(), echoPart, "a", "b c")
	if err != nil {
		t.Fatal(err)
	}
	if p.Address != "a\nb c" {
		t.Errorf("its address is %q", p.Address)
	}
	echo := func() {
		t.Helper()
		if _, err := fmt.Fprintln(p.In, "hello"); err != nil {
			t.Fatal(err)
		}
		if line, err := p.Line(t.Context()); line != "hello" || err != nil {
			t.Errorf("it says %q (%v)", line, err)
		}
	}
	echo()
	if err := errors.Join(p.Pause(), p.Resume()); err != nil {
		t.Error(err)
	}
	echo()
	if err := p.Pause(); err != nil {
		t.Error(err)
	}
	if err := errors.Join(p.Stop(), p.Stop()); err != nil { // also when it is paused
		t.Error(err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", p.Pid())); err == nil {
		t.Error("the process is still there")
	}
}

func TestPartsThatDoNotStart(t *testing.T) {
	if _, err := Start(t.Context(), failingPart); err == nil {
		t.Error("a part that fails is ready")
	}
	if _, err := Start(t.Context(), "test-unknown"); err == nil {
		t.Error("a part that there is none of is ready")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, hangingPart); err == nil {
		t.Error("a part that never says so is ready")
	}
}
