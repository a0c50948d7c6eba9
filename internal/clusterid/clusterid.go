// Package clusterid tells Kafka clusters apart. A will can be executed only in the cluster that the
// dead process's group is in.
package clusterid

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Of asks the brokers for the id of their cluster; "" with an error, or from brokers that have
// none.
func Of(ctx context.Context, request func(context.Context, kmsg.Request) (kmsg.Response, error)) (string, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // none
	resp, err := request(ctx, req)
	if err != nil {
		return "", err
	}
	m, ok := resp.(*kmsg.MetadataResponse)
	if !ok || m.ClusterID == nil {
		return "", nil
	}
	return *m.ClusterID, nil
}

// Known returns what a client has heard of its cluster from the metadata that it works with. It
// asks the brokers only if there was none yet.
func Known(ctx context.Context, cl *kgo.Client) string {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	resp, err := cl.RequestCachedMetadata(ctx, req, 0)
	if err != nil || resp.ClusterID == nil {
		return ""
	}
	return *resp.ClusterID
}

// Differ tells whether two ids are those of different clusters; who has none says nothing.
func Differ(a, b string) bool { return a != "" && b != "" && a != b }
