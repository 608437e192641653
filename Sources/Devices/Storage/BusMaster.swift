import GuestMemory

/// One channel of the PIIX3's bus master (82371SB data sheet, 2.7; "Programming Interface for Bus Master IDE
/// Controller", revision 1.0): it moves data between a drive and the memory a table of descriptors names.
struct BusMasterCore {
  struct State: Codable, Equatable, Sendable {
    var command: UInt8 = 0
    /// Bit 0 active, 1 error, 2 interrupt, 5 and 6 drives capable of DMA (kept for software).
    var status: UInt8 = 0
    /// Where the table of physical region descriptors lies.
    var table: UInt32 = 0
    /// The next descriptor, the rest of the current one, and whether that is the last.
    var next: UInt32 = 0
    var address: UInt32 = 0
    var left = 0
    var isLast = false
  }

  var state = State()

  var isActive: Bool { state.status & 1 != 0 && state.command & 1 != 0 }

  /// - Returns: whether the engine has just been started.
  mutating func write(_ offset: Int, _ value: UInt8) -> Bool {
    switch offset {
    case 0:
      let starts = value & ~state.command & 1 != 0
      state.command = value & 0x09
      if value & 1 == 0 { state.status &= ~1 }
      if starts {
        state.status |= 1
        state.next = state.table
        state.left = 0
        state.isLast = false
      }
      return starts
    case 2:
      let kept = state.status & ~(value & 0x06)
      state.status = kept & 0x07 | value & 0x60
    case 4: state.table = state.table & 0xFFFF_FF00 | UInt32(value & 0xFC)
    case 5: state.table = state.table & 0xFFFF_00FF | UInt32(value) << 8
    case 6: state.table = state.table & 0xFF00_FFFF | UInt32(value) << 16
    case 7: state.table = state.table & 0x00FF_FFFF | UInt32(value) << 24
    default: break
    }
    return false
  }

  func read(_ offset: Int) -> UInt8 {
    switch offset {
    case 0: state.command
    case 2: state.status
    case 4: UInt8(truncatingIfNeeded: state.table)
    case 5: UInt8(truncatingIfNeeded: state.table >> 8)
    case 6: UInt8(truncatingIfNeeded: state.table >> 16)
    case 7: UInt8(truncatingIfNeeded: state.table >> 24)
    default: 0
    }
  }

  /// Moves up to `count` bytes between `buffer` and guest memory. When the table ends before that, the engine stops
  /// without an interrupt.
  /// - Returns: the bytes moved.
  mutating func move(
    _ buffer: UnsafeMutablePointer<UInt8>, _ count: Int, toMemory: Bool, memory: PhysicalMemory
  ) -> Int {
    var done = 0
    while done < count {
      if state.left == 0 && !loadDescriptor(memory) { break }
      let piece = min(state.left, count - done)
      if toMemory {
        memory.write(UInt64(state.address), from: UnsafeRawBufferPointer(start: buffer + done, count: piece))
      } else {
        memory.read(UInt64(state.address), into: UnsafeMutableRawBufferPointer(start: buffer + done, count: piece))
      }
      state.address &+= UInt32(piece)
      state.left -= piece
      done += piece
    }
    return done
  }

  private mutating func loadDescriptor(_ memory: PhysicalMemory) -> Bool {
    guard !state.isLast else {
      state.status &= ~1
      return false
    }
    let descriptor = memory.read(UInt64(state.next), as: UInt64.self)
    state.next &+= 8
    state.address = UInt32(truncatingIfNeeded: descriptor) & ~1
    let length = Int(descriptor >> 32 & 0xFFFE)
    state.left = length == 0 ? 65_536 : length
    state.isLast = descriptor >> 63 != 0
    return true
  }

  /// The drive's command is over. The engine goes idle when its table is used up as well.
  mutating func driveFinished() {
    if state.left == 0 && state.isLast { state.status &= ~1 }
  }
}

extension BusMasterCore.State {
  var isPlausible: Bool { (0...65_536).contains(left) && command & ~9 == 0 && status & ~0x67 == 0 }
}
