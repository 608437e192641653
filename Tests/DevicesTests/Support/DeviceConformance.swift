import Foundation
import SavedState
import Testing

@testable import Devices

/// One device under the suite that every device must pass.
///
/// `make` builds a fresh device with its own board. `disturb` brings it into an interesting state, far from reset.
struct DeviceUnderTest {
  var name: String
  var make: () throws -> any Device
  var disturb: (any Device) throws -> Void
  /// False for a device that has no fields (its state is the empty object).
  var hasState = true

  init<D: Device>(
    _ name: String, hasState: Bool = true, make: @escaping () throws -> D, disturb: @escaping (D) throws -> Void
  ) {
    self.name = name
    self.hasState = hasState
    self.make = make
    self.disturb = { device in
      guard let device = device as? D else { return }
      try disturb(device)
    }
  }

  /// Runs every promise of the suite.
  func run() throws {
    try roundTrip()
    try changeThenLoadEquals()
    try garbageIsRefused()
    try pauseTwice()
    try resetIsStable()
  }

  /// A device loaded from a saved state saves the same bytes, on a fresh board too.
  func roundTrip() throws {
    let first = try make()
    try disturb(first)
    first.pause()
    let saved = try first.save()
    #expect(try first.save() == saved, "\(name): saving changes nothing")
    let second = try make()
    second.pause()
    try second.load(saved)
    #expect(try second.save() == saved, "\(name): loaded and saved again")
    if hasState {
      let fresh = try make().save()
      #expect(fresh != saved, "\(name): the test's disturbance shows in the state")
    }
  }

  /// Loading undoes whatever happened since the save.
  func changeThenLoadEquals() throws {
    let device = try make()
    let saved = try device.save()
    try disturb(device)
    device.pause()
    try device.load(saved)
    #expect(try device.save() == saved, "\(name): change, then load")
    device.resume()
  }

  /// What is not a state of this device throws and leaves the device as it was.
  func garbageIsRefused() throws {
    let device = try make()
    try disturb(device)
    device.pause()
    let saved = try device.save()
    var bad: [StateSection] = []
    var section = saved
    section.kind += "x"
    bad.append(section)
    section = saved
    section.version += 1
    bad.append(section)
    section = saved
    section.version = 0
    bad.append(section)
    for garbage in ["", "[", "7", "\"text\"", "[1,2,3]", "null"] {
      section = saved
      section.fields = Data(garbage.utf8)
      bad.append(section)
    }
    if hasState {
      section = saved
      section.fields = Data("{}".utf8)
      bad.append(section)
      section = saved
      section.fields = saved.fields.dropLast()
      bad.append(section)
    }
    if !saved.blob.isEmpty {
      section = saved
      section.blob = Data(saved.blob.dropLast())
      bad.append(section)
    }
    for section in bad {
      #expect(throws: (any Error).self, "\(name): \(String(decoding: section.fields.prefix(60), as: UTF8.self))") {
        try device.load(section)
      }
      #expect(try device.save() == saved, "\(name): unchanged after a refused load")
    }
    try randomFieldsNeverTrap(device, saved)
  }

  /// Any number in any field is either taken or refused: never a trap, and a device that took it can save it.
  private func randomFieldsNeverTrap(_ device: any Device, _ saved: StateSection) throws {
    guard hasState, let text = String(data: saved.fields, encoding: .utf8) else { return }
    var random = SplitMix64(seed: 42)
    let numbers = [
      "0", "1", "-1", "255", "256", "65535", "65536", "4294967295", "9223372036854775807",
      "18446744073709551615", "1e400", "0.5",
    ]
    for _ in 0..<200 {
      guard let mutated = replaceOneNumber(text, numbers[Int(random.next() % UInt64(numbers.count))], &random) else {
        return
      }
      var section = saved
      section.fields = Data(mutated.utf8)
      let before = try device.save()
      do {
        try device.load(section)
        device.resume()
        device.pause()
        _ = try device.save()
      } catch {
        #expect(try device.save() == before, "\(name): unchanged after refusing \(mutated)")
      }
    }
    try device.load(saved)
    #expect(try device.save() == saved)
  }

  private func replaceOneNumber(_ text: String, _ number: String, _ random: inout SplitMix64) -> String? {
    let bytes = Array(text.utf8)
    var starts: [Range<Int>] = []
    var index = 0
    while index < bytes.count {
      let digit: (UInt8) -> Bool = { (0x30...0x39).contains($0) }
      let afterMark = index > 0 && [0x3A, 0x5B, 0x2C].contains(bytes[index - 1])
      if digit(bytes[index]) && afterMark {
        var end = index
        while end < bytes.count && digit(bytes[end]) { end += 1 }
        starts.append(index..<end)
        index = end
      } else {
        index += 1
      }
    }
    guard !starts.isEmpty else { return nil }
    let range = starts[Int(random.next() % UInt64(starts.count))]
    return String(decoding: bytes[..<range.lowerBound] + Array(number.utf8) + bytes[range.upperBound...], as: UTF8.self)
  }

  /// Pausing a paused device and resuming a running one change nothing.
  func pauseTwice() throws {
    let device = try make()
    try disturb(device)
    device.pause()
    let saved = try device.save()
    device.pause()
    #expect(try device.save() == saved, "\(name): paused twice")
    device.resume()
    device.resume()
    device.pause()
    #expect(try device.save() == saved, "\(name): resumed twice and paused")
  }

  /// A reset brings the device to the same state wherever it comes from, and twice is as once.
  func resetIsStable() throws {
    let device = try make()
    try disturb(device)
    device.reset()
    let once = try device.save()
    device.reset()
    #expect(try device.save() == once, "\(name): reset twice")
  }
}

/// A reproducible source of random numbers (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators").
struct SplitMix64: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed &>> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed &>> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed &>> 31)
  }
}
