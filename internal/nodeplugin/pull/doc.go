// Package pull makes sure that the container runtime holds an image, and pulls it through CRI if it does not.
//
// A pull belongs to an image and its credentials, not to the call that asked for it: the kubelet gives a publish two minutes,
// and an image may take longer. Ensure therefore waits as long as its context allows and then returns StillPulling. The
// kubelet's next try joins the pull, or gets its result.
package pull
