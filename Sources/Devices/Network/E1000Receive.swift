import GuestMemory

/// Reception (Intel's manual, 3.2): the filters, the guest's ring, checksums.
extension E1000Core {
  enum Reception: Equatable {
    /// In the guest's buffers.
    case delivered
    /// Not for this card, or not receivable as it is set up: gone.
    case discarded
    /// The guest has no free buffers for it: it may come again when there are.
    case noRoom
  }

  /// A frame has come over the wire.
  /// - Parameters: frame: from the destination address on, without its CRC. isRepeated: it has been refused for want of
  ///   room before.
  mutating func receive(_ frame: [UInt8], memory: PhysicalMemory, now: UInt64, isRepeated: Bool = false) -> Reception {
    guard frame.count >= 14, isLinked else { return .discarded }
    let control = state.receiveControl
    guard control.contains(.enable) else { return .discarded }
    var frame = frame
    // What is shorter than Ethernet allows was padded by whoever sent it (IEEE 802.3, 4.2.8).
    if frame.count < 60 { frame.append(contentsOf: repeatElement(0, count: 60 - frame.count)) }
    let wireLength = frame.count + 4
    guard wireLength <= (control.contains(.longPackets) ? 16_384 : 1522) else {
      count(E1000Statistic.oversize)
      return .discarded
    }
    guard let match = match(frame) else { return .discarded }

    let tag = takeTag(&frame)
    if !control.contains(.stripCRC) { frame.append(contentsOf: EthernetCRC.bytes(of: frame)) }
    let room = store(frame, tag: tag, match: match, memory: memory, now: now)
    switch room {
    case .delivered:
      countReceived(frame, wireLength: wireLength)
      raiseLowDescriptors(now: now)
      frameReceived(length: frame.count, now: now)
    case .noRoom where !isRepeated:
      count(E1000Statistic.noBuffers)
      raise(.receiverOverrun, now: now)
    case .discarded: count(E1000Statistic.missed)
    case .noRoom: break
    }
    return room
  }

  // MARK: Filters

  private enum Match { case exact, inexact }

  /// Whether the card takes a frame, and how sure it is that it should (13.4.22, 13.5).
  private func match(_ frame: [UInt8]) -> Match? {
    let control = state.receiveControl
    if isTagged(frame), control.contains(.vlanFilter) {
      let tag = frame.word(at: 14)
      guard state.vlanTable[Int(tag & 0xFFF) >> 5] >> UInt32(tag & 31) & 1 != 0 else { return nil }
      if control.contains(.canonicalFormFilter), (tag & 0x1000 != 0) != control.contains(.canonicalFormValue) {
        return nil
      }
    }
    // PAUSE frames are the MAC's own affair (IEEE 802.3, 31) unless software wants to see them.
    if frame.word(at: 12) == 0x8808, !control.contains(.passControl) || control.contains(.discardPause) { return nil }
    let isMulticast = frame[0] & 1 != 0
    if isMulticast ? control.contains(.multicastPromiscuous) : control.contains(.unicastPromiscuous) { return .exact }
    if control.contains(.acceptBroadcast), frame[0..<6].allSatisfy({ $0 == 0xFF }) { return .exact }
    if isOwn(frame) { return .exact }
    return isMulticast && isInMulticastTable(frame) ? .inexact : nil
  }

  /// The sixteen receive addresses (13.5.2): only those that are valid and compared with the destination.
  private func isOwn(_ frame: [UInt8]) -> Bool {
    let low = UInt32(frame[0]) | UInt32(frame[1]) << 8 | UInt32(frame[2]) << 16 | UInt32(frame[3]) << 24
    let high = UInt32(frame[4]) | UInt32(frame[5]) << 8 | 0x8000_0000
    for index in 0..<16
    where state.receiveAddresses[index * 2] == low && state.receiveAddresses[index * 2 + 1] == high { return true }
    return false
  }

  /// Twelve of the address's highest bits, chosen by RCTL.MO, are the index of a bit (13.5.1).
  private func isInMulticastTable(_ frame: [UInt8]) -> Bool {
    let shift = [4, 3, 2, 0][state.receiveControl.multicastOffset]
    let index = Int(frame.withUnsafeBytes { $0[4] }) >> shift | Int(frame[5]) << (8 - shift)
    return state.multicastTable[index >> 5 & 0x7F] >> UInt32(index & 31) & 1 != 0
  }

  private func isTagged(_ frame: [UInt8]) -> Bool {
    frame.count >= 18 && UInt32(frame.word(at: 12)) == state.plain[E1000Register.vetIndex]
  }

  /// Takes a VLAN tag out of the frame where the controller is to do so.
  private func takeTag(_ frame: inout [UInt8]) -> UInt16? {
    guard state.control.contains(.vlanMode), isTagged(frame) else { return nil }
    let tag = frame.word(at: 14)
    frame.removeSubrange(12..<16)
    return tag
  }

  // MARK: The ring

  /// Writes a frame into as many buffers as it needs and then their descriptors.
  private mutating func store(
    _ frame: [UInt8], tag: UInt16?, match: Match, memory: PhysicalMemory, now: UInt64
  ) -> Reception {
    let size = state.receiveControl.bufferSize
    let needed = UInt32((frame.count + size - 1) / size)
    let ring = state.receiveRing
    // A frame for which the whole ring is too small will never fit.
    guard ring.count == 0 || needed < ring.count else { return .discarded }
    guard ring.available >= needed else { return .noRoom }
    let (sum, status, errors) = checkSums(frame)
    frame.withUnsafeBytes { bytes in
      for index in 0..<needed {
        let descriptor = ring.address(index)
        let start = Int(index) * size
        let length = min(size, frame.count - start)
        let buffer = memory.read(descriptor, as: UInt64.self)
        // Descriptors without an address are padding: nothing is stored for them (3.2.3).
        if buffer != 0 {
          memory.write(buffer, from: UnsafeRawBufferPointer(rebasing: bytes[start..<start + length]))
        }
        let isLast = index == needed - 1
        var flags: UInt64 = 0x01  // DD
        if isLast { flags |= 0x02 | UInt64(status) }  // EOP
        if tag != nil { flags |= 0x08 }  // VP
        if match == .inexact { flags |= 0x80 }  // PIF
        var fields = UInt64(length) | UInt64(sum) << 16 | flags << 32
        if isLast { fields |= UInt64(errors) << 40 }
        fields |= UInt64(tag ?? 0) << 48
        memory.write(descriptor &+ 8, fields)
      }
    }
    state.receiveRing.advance(needed)
    return .delivered
  }

  private mutating func raiseLowDescriptors(now: UInt64) {
    let threshold = state.receiveRing.count >> UInt32(state.receiveControl.thresholdShift)
    if state.receiveRing.available <= threshold { raise(.receiveDescriptorsLow, now: now) }
  }

  // MARK: Checksums

  /// The packet checksum, and the bits of status and errors that tell of IP's and TCP's or UDP's (3.2.9, 13.5.15).
  private func checkSums(_ frame: [UInt8]) -> (sum: UInt16, status: UInt8, errors: UInt8) {
    let control = state.plain[E1000Register.rxcsumIndex]
    let end = frame.count - (state.receiveControl.contains(.stripCRC) ? 0 : 4)
    let sum = ~InternetChecksum.sum(frame, from: Int(control & 0xFF), to: end)
    guard control & 0x300 != 0 else { return (sum, 0x04, 0) }  // IXSM: look at none of the bits
    var (status, errors): (UInt8, UInt8) = (0, 0)
    guard let packet = IPPacket(frame, end: end) else { return (sum, 0x04, 0) }
    if control & 0x100 != 0, packet.version == 4 {
      status |= 0x40  // IPCS
      if !packet.isHeaderSound { errors |= 0x40 }  // IPE
    }
    if control & 0x200 != 0, let isSound = packet.isPayloadSound {
      status |= 0x20  // TCPCS
      if !isSound { errors |= 0x20 }  // TCPE
    }
    return (sum, status == 0 ? 0x04 : status, errors)
  }

  private mutating func countReceived(_ frame: [UInt8], wireLength: Int) {
    count(E1000Statistic.received64 + E1000Statistic.sizeClass(wireLength))
    count(E1000Statistic.goodReceived)
    count(E1000Statistic.totalReceived)
    count(octets: wireLength, at: E1000Statistic.goodOctetsReceived)
    count(octets: wireLength, at: E1000Statistic.octetsReceived)
    guard frame[0] & 1 != 0 else { return }
    let isBroadcast = frame[0..<6].allSatisfy { $0 == 0xFF }
    count(isBroadcast ? E1000Statistic.broadcastReceived : E1000Statistic.multicastReceived)
  }
}
