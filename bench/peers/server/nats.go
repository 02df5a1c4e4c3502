package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"path/filepath"
	"time"

	nats "github.com/nats-io/nats-server/v2/server"

	"github.com/statesync/statesync/bench/peers/process"
)

// StartNATS starts a NATS server with JetStream, whose files are in dir.
// Address is its URL.
func StartNATS(ctx context.Context, dir string) (*process.Process, error) {
	return process.Start(ctx, natsPart, dir)
}

var natsPart = process.Register("nats", func(ctx context.Context, args []string, _ *bufio.Reader, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("wants a folder")
	}
	s, err := nats.NewServer(&nats.Options{
		Host: "127.0.0.1", Port: nats.RANDOM_PORT, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: filepath.Join(args[0], "nats"), MaxPayload: 8 << 20,
	})
	if err != nil {
		return err
	}
	s.Start()
	defer func() {
		s.Shutdown()
		s.WaitForShutdown()
	}()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("the NATS server is not ready after 10 s")
	}
	if err := process.Ready(out, s.ClientURL()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
})
