import Foundation
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The connections that have not shown yet that they may be here. They share few seats; when none is free somebody is sent
/// away for who comes: of the address that holds the most, first who has said nothing, first who came first. So silent
/// strangers send each other away, and not the source.
final class StrangerSeats: Sendable {
  static let count = 32

  /// One connection's seat.
  final class Seat: Sendable {
    fileprivate let seats: StrangerSeats
    fileprivate let number: UInt64
    /// The peer's, as `StrangerSeats.address` has it.
    let address: [UInt8]

    fileprivate init(_ seats: StrangerSeats, _ number: UInt64, _ address: [UInt8]) {
      self.seats = seats
      self.number = number
      self.address = address
    }

    /// It has said who it is, and is to prove it.
    func hasGreeted() { seats.change(number) { $0.hasGreeted = true } }

    /// It is no stranger any more, or gone. Before its descriptor is closed; more than once does no harm.
    func leave() { seats.remove(number) }
  }

  private struct Entry {
    var number: UInt64
    var descriptor: Int32
    var address: [UInt8]
    var hasGreeted = false
  }

  private struct State {
    var entries: [Entry] = []
    var next: UInt64 = 0
  }

  private let state = Mutex(State())

  /// Takes a seat for a connection that has just come. Who is sent away finds its connection shut down.
  func take(_ descriptor: Int32) -> Seat {
    take(descriptor, address: Self.address(of: descriptor))
  }

  func take(_ descriptor: Int32, address: [UInt8]) -> Seat {
    let number = state.withLock { state in
      if state.entries.count >= Self.count, let index = Self.victim(state.entries) {
        shutdown(state.entries[index].descriptor, Int32(SHUT_RDWR))
        state.entries.remove(at: index)
      }
      state.next += 1
      state.entries.append(Entry(number: state.next, descriptor: descriptor, address: address))
      return state.next
    }
    return Seat(self, number, address)
  }

  /// Entries stand in the order in which they came.
  private static func victim(_ entries: [Entry]) -> Int? {
    let held = Dictionary(grouping: entries, by: \.address).mapValues(\.count)
    guard let most = held.values.max() else { return nil }
    let crowd = entries.indices.filter { held[entries[$0].address] == most }
    return crowd.first { !entries[$0].hasGreeted } ?? crowd.first
  }

  private func change(_ number: UInt64, _ body: (inout Entry) -> Void) {
    state.withLock { state in
      if let index = state.entries.firstIndex(where: { $0.number == number }) { body(&state.entries[index]) }
    }
  }

  private func remove(_ number: UInt64) {
    state.withLock { state in state.entries.removeAll { $0.number == number } }
  }

  /// The peer's address without its port; of IPv6 the half that names a network, within which whoever has one address has all.
  private static func address(of descriptor: Int32) -> [UInt8] {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let known = withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getpeername(descriptor, $0, &length) }
    }
    guard known == 0 else { return [] }
    return withUnsafeBytes(of: storage) { bytes in
      guard storage.ss_family == sa_family_t(AF_INET6) else { return Array(bytes[4..<8]) }
      return whoHas(Array(bytes[8..<24]))
    }
  }

  /// - Parameter address: 16 bytes. One of IPv4 in IPv6 (RFC 4291, 2.5.5.2) is the former's.
  static func whoHas(_ address: [UInt8]) -> [UInt8] {
    let isMapped = address[..<10].allSatisfy { $0 == 0 } && address[10] == 0xFF && address[11] == 0xFF
    return Array(isMapped ? address[12...] : address[..<8])
  }
}
