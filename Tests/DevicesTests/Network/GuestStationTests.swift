import Testing

@testable import Devices

@Suite struct GuestStationTests {
  private static let maker = MACAddress([2, 0, 0, 0, 0, 9])!
  private static let guest: [UInt8] = [2, 0, 0, 0, 0, 1]
  private static let everyone = [UInt8](repeating: 255, count: 6)
  private static let linkLocal: [UInt8] = [0xFE, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFE, 0, 0, 1]

  private static func arp(_ ip: [UInt8], sender: [UInt8] = guest) -> [UInt8] {
    everyone + guest + [8, 6, 0, 1, 8, 0, 6, 4, 0, 1] + sender + ip + [0, 0, 0, 0, 0, 0, 10, 0, 2, 2]
  }

  private static func neighbour(_ type: UInt8, source: [UInt8], target: [UInt8], hops: UInt8 = 255) -> [UInt8] {
    [0x33, 0x33, 0, 0, 0, 1] + guest + [0x86, 0xDD, 0x60, 0, 0, 0, 0, 24, 58, hops] + source + linkLocal
      + [type, 0, 0, 0, 0, 0, 0, 0] + target
  }

  @Test func whatAGuestSaysOfItselfIsLearnt() {
    var station = GuestStation()
    station.learn(Self.arp([10, 0, 2, 15]))
    #expect(station.address == Self.guest && station.ipv4 == [[10, 0, 2, 15]])
    station.learn(Self.arp([0, 0, 0, 0]))
    station.learn(Self.arp([10, 0, 2, 16], sender: [2, 0, 0, 0, 0, 7]))
    #expect(station.ipv4 == [[10, 0, 2, 15]], "no address yet; another's")
    let (one, other) = ([UInt8](repeating: 1, count: 16), [UInt8](repeating: 2, count: 16))
    let nobody = [UInt8](repeating: 0, count: 16)
    station.learn(Self.neighbour(135, source: nobody, target: Self.linkLocal))
    station.learn(Self.neighbour(135, source: one, target: other))
    station.learn(Self.neighbour(136, source: Self.linkLocal, target: other))
    station.learn(Self.neighbour(136, source: Self.linkLocal, target: [UInt8](repeating: 3, count: 16), hops: 64))
    #expect(station.ipv6 == [Self.linkLocal, one, other])
    #expect(station.isAddressed(by: Self.guest + [1, 2]) && !station.isAddressed(by: Self.everyone))
  }

  @Test func theAddressesUsedLastAreKept() {
    var station = GuestStation()
    for index in 0..<40 as Range<UInt8> { station.learn(Self.arp([10, 0, 3, index])) }
    station.learn(Self.arp([10, 0, 3, 30]))
    #expect(station.ipv4.count == 16 && station.ipv4.last == [10, 0, 3, 30] && station.ipv4.first == [10, 0, 3, 24])
    #expect(station.isPlausible)
  }

  @Test func anyBytesAreTakenInAndLeaveItWhole() {
    var random = SystemRandomNumberGenerator()
    var station = GuestStation()
    for _ in 0..<5000 {
      var frame =
        Bool.random() ? Self.arp([10, 0, 2, 15]) : Self.neighbour(136, source: Self.linkLocal, target: Self.linkLocal)
      for _ in 0..<random.next() % 6 { frame[Int(random.next() % UInt64(frame.count))] = UInt8(random.next() & 0xFF) }
      station.learn(Array(frame.prefix(Int(random.next() % UInt64(frame.count + 1)))))
      #expect(station.isPlausible)
    }
  }

  @Test func theAnnouncementIsRARPGratuitousARPAndUnsolicitedAdvertisements() {
    var station = GuestStation()
    #expect(station.announcement(Self.maker).map { Array($0[6..<14]) } == [Self.maker.bytes + [0x80, 0x35]])
    station.learn(Self.arp([10, 0, 2, 15]))
    station.learn(Self.neighbour(136, source: Self.linkLocal, target: Self.linkLocal))
    let frames = station.announcement(Self.maker)
    #expect(frames.count == 3 && frames.allSatisfy { Array($0[6..<12]) == Self.guest && $0.count >= 60 })
    let rarp: [UInt8] = [0, 1, 8, 0, 6, 4, 0, 3] + Self.guest + [0, 0, 0, 0] + Self.guest + [0, 0, 0, 0]
    #expect(Array(frames[0][14..<42]) == rarp && Array(frames[0][..<6]) == Self.everyone)
    let arp: [UInt8] = [0, 1, 8, 0, 6, 4, 0, 1] + Self.guest + [10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 15]
    #expect(Array(frames[1][14..<42]) == arp)
    let advertisement = frames[2]
    #expect(Array(advertisement[..<6]) == [0x33, 0x33, 0, 0, 0, 1] && advertisement.count == 14 + 40 + 32)
    #expect(advertisement[54] == 136 && advertisement[58] == 0x20, "override, not solicited")
    #expect(Array(advertisement[62..<78]) == Self.linkLocal)
    #expect(Array(advertisement[78..<86]) == [2, 1] + Self.guest)
    // The sum over pseudo-header and message (RFC 8200, 8.1).
    let summed = Array(advertisement[22..<54]) + [0, 0, 0, 32, 0, 0, 0, 58] + Array(advertisement[54...])
    #expect(InternetChecksum.sum(summed, from: 0, to: summed.count) == 0xFFFF)
  }
}
