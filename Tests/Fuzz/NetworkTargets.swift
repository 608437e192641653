import Foundation
import HostNetwork

@testable import Devices

/// Frames on a stream, cut as a reader meets them, and each one as the network's parts look at it. In the front of a frame
/// stands what a guest's driver wants done to it.
let frameTarget = FuzzTarget(
  name: "frame",
  seeds: {
    var stream: [UInt8] = []
    for address in ["52:54:00:12:34:56", "52:54:00:12:34:57"].compactMap({ MACAddress($0) }) {
      var station = GuestStation()
      for frame in station.announcement(address) {
        station.learn(frame)
        FrameStream.encode(FrameOffload().header + frame, to: &stream)
      }
    }
    return [[1] + stream, [40] + stream]
  },
  run: { bytes in
    guard let piece = bytes.first else { return }
    var decoder = FrameStream.Decoder()
    var station = GuestStation()
    var rest = bytes.dropFirst()
    do {
      while !rest.isEmpty {
        decoder.append(rest.prefix(Int(piece) + 1))
        rest = rest.dropFirst(Int(piece) + 1)
        while let packet = try decoder.next() { look(packet, &station) }
        FuzzTarget.check(decoder.pending < FrameStream.longestFrame + 4 + 256, "\(decoder.pending) bytes wait")
      }
    } catch {}
    FuzzTarget.check(station.isPlausible, "a station that cannot be")
  })

private func look(_ packet: [UInt8], _ station: inout GuestStation) {
  station.learn(packet)
  if let found = IPPacket(packet, end: packet.count) { _ = (found.isHeaderSound, found.isPayloadSound) }
  guard let offload = FrameOffload(header: packet.prefix(FrameOffload.headerLength)) else { return }
  FuzzTarget.check(FrameOffload(header: offload.header) == offload, "a header that is read in another way")
  let frame = Array(packet.dropFirst(FrameOffload.headerLength))
  guard var finisher = FrameFinisher(frame, offload) else { return }
  FuzzTarget.check(finisher.isPlausible, "a packet that cannot be saved")
  var total = 0
  while let one = finisher.next() {
    station.learn(one)
    total += 1
    FuzzTarget.check(total <= frame.count + 1, "frames without an end")
  }
}

/// A port forward as a user writes it; what is taken says itself again.
let forwardTarget = FuzzTarget(name: "forward", seeds: { [Array("ssh,tcp,127.0.0.1,2222,,22".utf8)] }) { bytes in
  guard let text = String(validating: bytes, as: UTF8.self), let rule = try? PortForward(text) else { return }
  let again = [
    rule.name, rule.transport.rawValue, rule.hostAddress ?? "", "\(rule.hostPort)", rule.guestAddress ?? "",
    "\(rule.guestPort)",
  ].joined(separator: ",")
  FuzzTarget.check((try? PortForward(again)) == rule, "\(rule) is read in another way")
}
