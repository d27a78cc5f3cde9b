// Picture and sound by WebRTC: a viewer's side of WHEP.

const GATHER_SECONDS = 2; // that candidates are waited for: WHEP takes them all in one offer

export async function connectPeer(ask, session, video, link) {
  const answer = await ask("v1/ice");
  const peer = new RTCPeerConnection(answer.ok ? await answer.json() : {});
  link.peer = peer;
  const stream = new MediaStream();
  peer.ontrack = ({ track, receiver }) => {
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
    stream.addTrack(track);
    video.srcObject = stream;
  };
  peer.addTransceiver("video", { direction: "recvonly" });
  peer.addTransceiver("audio", { direction: "recvonly" });
  await peer.setLocalDescription(await peer.createOffer());
  await gathered(peer);
  const made = await ask(`v1/whep/${session}`, {
    method: "POST", headers: { "Content-Type": "application/sdp" }, body: peer.localDescription.sdp,
  });
  if (!made.ok) throw new Error((await made.json()).error);
  await peer.setRemoteDescription({ type: "answer", sdp: await made.text() });
  count(video, link);
  return peer;
}

export function gathered(peer) {
  return new Promise((resolve) => {
    if (peer.iceGatheringState === "complete") resolve();
    peer.onicegatheringstatechange = () => { if (peer.iceGatheringState === "complete") resolve(); };
    setTimeout(resolve, GATHER_SECONDS * 1e3);
  });
}

function count(video, link) {
  const each = (now, { presentedFrames }) => {
    link.stats.shown = presentedFrames;
    if (!link.over) video.requestVideoFrameCallback(each);
  };
  if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(each);
}
