import Foundation

@testable import HostNetwork

/// As much of a guest's network stack as the tests of the NAT need: Ethernet, ARP, IPv4, UDP and DHCP by hand.
struct MiniGuest {
  static let address: [UInt8] = [0x52, 0x54, 0, 0x12, 0x34, 0x56]
  var ip: [UInt8] = [10, 0, 2, 15]
  var gatewayMAC: [UInt8] = [UInt8](repeating: 0xFF, count: 6)

  static func sum(_ bytes: [UInt8]) -> UInt16 {
    var sum = 0
    for (index, byte) in bytes.enumerated() { sum += index & 1 == 0 ? Int(byte) << 8 : Int(byte) }
    while sum > 0xFFFF { sum = (sum & 0xFFFF) + (sum >> 16) }
    return ~UInt16(sum)
  }

  private static func pair(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 0xFF), UInt8(value & 0xFF)] }

  func ethernet(to: [UInt8], type: Int, _ payload: [UInt8]) -> [UInt8] {
    to + Self.address + Self.pair(type) + payload
  }

  func ipv4(to: [UInt8], protocol number: UInt8, from: [UInt8]? = nil, _ payload: [UInt8]) -> [UInt8] {
    var header: [UInt8] =
      [0x45, 0] + Self.pair(20 + payload.count) + [0, 1, 0, 0, 64, number, 0, 0] + (from ?? ip) + to
    header.replaceSubrange(10..<12, with: Self.pair(Int(Self.sum(header))))
    let destination = to == [255, 255, 255, 255] ? [UInt8](repeating: 0xFF, count: 6) : gatewayMAC
    return ethernet(to: destination, type: 0x0800, header + payload)
  }

  func udp(to: [UInt8], port: Int, from source: Int = 4000, sender: [UInt8]? = nil, _ payload: [UInt8]) -> [UInt8] {
    let header = Self.pair(source) + Self.pair(port) + Self.pair(8 + payload.count) + [0, 0]
    return ipv4(to: to, protocol: 17, from: sender, header + payload)
  }

  /// A DHCPDISCOVER (RFC 2131).
  func discover() -> [UInt8] {
    var message: [UInt8] = [1, 1, 6, 0, 0xDE, 0xAD, 0xBE, 0xEF] + [UInt8](repeating: 0, count: 20)
    message += Self.address + [UInt8](repeating: 0, count: 10 + 192)
    message += [99, 130, 83, 99, 53, 1, 1, 255]
    return udp(to: [255, 255, 255, 255], port: 67, from: 68, sender: [0, 0, 0, 0], message)
  }

  func arp(asking target: [UInt8]) -> [UInt8] {
    ethernet(
      to: [UInt8](repeating: 0xFF, count: 6), type: 0x0806,
      [0, 1, 8, 0, 6, 4, 0, 1] + Self.address + ip + [UInt8](repeating: 0, count: 6) + target)
  }

  func arpReply(to mac: [UInt8], _ target: [UInt8]) -> [UInt8] {
    ethernet(to: mac, type: 0x0806, [0, 1, 8, 0, 6, 4, 0, 2] + Self.address + ip + mac + target)
  }

  func ping(_ target: [UInt8], _ number: UInt8) -> [UInt8] {
    var message: [UInt8] = [8, 0, 0, 0, 0x12, 0x34, 0, number] + [UInt8](repeating: 0x61, count: 32)
    message.replaceSubrange(2..<4, with: Self.pair(Int(Self.sum(message))))
    return ipv4(to: target, protocol: 1, message)
  }

  static func type(_ frame: [UInt8]) -> Int { frame.count > 14 ? Int(frame[12]) << 8 | Int(frame[13]) : 0 }
  /// The payload of a UDP datagram to a port of the guest's.
  static func datagram(_ frame: [UInt8], to port: Int) -> [UInt8]? {
    guard type(frame) == 0x0800, frame.count >= 42, frame[23] == 17 else { return nil }
    guard Int(frame[36]) << 8 | Int(frame[37]) == port else { return nil }
    return Array(frame[42..<min(frame.count, 34 + (Int(frame[38]) << 8 | Int(frame[39])))])
  }
}
