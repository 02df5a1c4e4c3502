package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/statesync/statesync/bench/peers/process"
)

// getSetting is the one method of the config service: it takes "hash/field",
// and answers with the field's value.
const getSetting = "/statesync.peers.Config/Get"

// GRPC is a config service that asks Redis for each call.
type GRPC struct {
	Addr string // host:port on loopback
	*process.Process
}

// StartGRPC starts a config service in front of this Redis, which it reaches
// through the unix socket.
func StartGRPC(ctx context.Context, r *Redis) (*GRPC, error) {
	p, err := process.Start(ctx, grpcPart, r.Socket)
	if err != nil {
		return nil, err
	}
	return &GRPC{Addr: p.Address, Process: p}, nil
}

// GRPCClient is a client of a config service, for any number of goroutines.
type GRPCClient struct{ conn *grpc.ClientConn }

// DialGRPC makes a client. It connects with the first call.
func DialGRPC(addr string) (*GRPCClient, error) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	return &GRPCClient{conn}, err
}

// Get is a field of a hash in Redis: two round trips, one of them the service's.
func (c *GRPCClient) Get(ctx context.Context, hash, field string) (string, error) {
	var reply wrapperspb.StringValue
	err := c.conn.Invoke(ctx, getSetting, wrapperspb.String(hash+"/"+field), &reply)
	return reply.GetValue(), err
}

// Close ends the connection.
func (c *GRPCClient) Close() error { return c.conn.Close() }

var grpcPart = process.Register("grpc", func(ctx context.Context, args []string, _ *bufio.Reader, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("wants the path of Redis's unix socket")
	}
	store := redis.NewClient(&redis.Options{Network: "unix", Addr: args[0]})
	defer store.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	s.RegisterService(&configService, store)
	defer context.AfterFunc(ctx, s.Stop)()
	if err := process.Ready(out, l.Addr().String()); err != nil {
		return err
	}
	return s.Serve(l)
})

// configService is what protoc would write for one unary method.
var configService = grpc.ServiceDesc{
	ServiceName: "statesync.peers.Config",
	HandlerType: (*redis.Cmdable)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Get",
		Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var request wrapperspb.StringValue
			if err := decode(&request); err != nil {
				return nil, err
			}
			hash, field, ok := cutLast(request.GetValue())
			if !ok {
				return nil, status.Error(codes.InvalidArgument, fmt.Sprintf("%q is not hash/field", request.GetValue()))
			}
			value, err := srv.(redis.Cmdable).HGet(ctx, hash, field).Result()
			switch {
			case errors.Is(err, redis.Nil):
				return nil, status.Error(codes.NotFound, request.GetValue())
			case err != nil:
				return nil, status.Error(codes.Unavailable, err.Error())
			}
			return wrapperspb.String(value), nil
		},
	}},
}

// cutLast cuts at the last slash: the name of a config may have slashes itself.
func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}
