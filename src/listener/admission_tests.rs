//! The rules of admission, without sockets.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::proptest;
use tokio::runtime::Builder;
use tokio::time::advance;

use super::super::permit::Permit;
use super::*;

const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

fn limits(handshakes: usize, per_address: usize, queue: usize, queue_per_address: usize) -> ListenerLimits {
    ListenerLimits {
        handshakes,
        handshakes_per_address: per_address,
        queue,
        queue_per_address,
        ..ListenerLimits::default()
    }
}

fn admission(limits: ListenerLimits) -> Arc<Admission> {
    Arc::new(Admission::new(limits, Arc::default(), Box::new(|_| ())))
}

/// Connections in service from one address.
fn in_service(address: IpAddr, connections: usize) -> Arc<InService> {
    let in_service = InService::default();
    (0..connections).for_each(|_| in_service.add(address));
    Arc::new(in_service)
}

fn enter(admission: &Arc<Admission>, address: IpAddr) -> Permit {
    Permit::enter(admission, address, Instant::now()).unwrap()
}

/// Enters a connection and lines it up.
fn line_up(admission: &Arc<Admission>, address: IpAddr) -> Permit {
    let place = enter(admission, address);
    place.line_up();
    place
}

fn phases<const N: usize>(places: [&Permit; N]) -> [Stage; N] {
    places.map(Permit::stage)
}

fn lock(admission: &Admission) -> std::sync::MutexGuard<'_, State> {
    admission.state.lock().unwrap()
}

/// The phase as the task of a connection sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Queued,
    Started,
    Shed(ShedCause),
}

impl Permit {
    fn stage(&self) -> Stage {
        match self.phase() {
            Phase::Silent | Phase::InLine => Queued,
            Phase::Handshake => Started,
            Phase::Stopping(cause) | Phase::Shed(cause) => Shed(cause),
        }
    }
}

fn occupied(queued: usize, handshakes: usize) -> Occupancy {
    Occupancy { queued, handshakes }
}

use ShedCause::{
    AddressLimit, ConnectionLimit, OutOfDescriptors, QueueFull, ShareFull, ShuttingDown, Stalled,
};
use Stage::{Queued, Shed, Started};

#[test]
fn handshakes_are_capped_and_handed_on_in_order() {
    let admission = admission(limits(2, 2, 10, 10));
    let [first, second, third, fourth] = std::array::from_fn(|_| line_up(&admission, A));
    assert_eq!(phases([&first, &second, &third, &fourth]), [Started, Started, Queued, Queued]);
    assert_eq!(admission.occupancy(), occupied(2, 2));
    second.succeeded();
    assert_eq!(phases([&first, &third, &fourth]), [Started, Started, Queued]);
    drop(first);
    assert_eq!(phases([&third, &fourth]), [Started, Started]);
    drop((third, fourth));
    assert_eq!(admission.occupancy(), occupied(0, 0));
    assert!(lock(&admission).addresses.is_empty());
}

#[test]
fn the_silent_take_no_handshake() {
    let admission = admission(limits(1, 1, 10, 10));
    let silent = enter(&admission, A);
    let ready = line_up(&admission, A);
    assert_eq!(phases([&silent, &ready]), [Queued, Started]);
    assert_eq!(admission.occupancy(), occupied(1, 1));
}

#[test]
fn one_address_gets_its_share_only() {
    let admission = admission(limits(3, 2, 10, 10));
    let [first, second, third] = std::array::from_fn(|_| line_up(&admission, A));
    let other = line_up(&admission, B);
    assert_eq!(phases([&first, &second, &third, &other]), [Started, Started, Queued, Started]);
    drop(other);
    assert_eq!(third.stage(), Queued, "the free handshake is not for this address");
    drop(first);
    assert_eq!(third.stage(), Started);
}

#[test]
fn addresses_take_turns() {
    let admission = admission(limits(1, 1, 100, 100));
    let busy = line_up(&admission, A);
    let long_line: Vec<_> = (0..50).map(|_| line_up(&admission, A)).collect();
    let other = line_up(&admission, B);
    drop(busy);
    assert_eq!(phases([&long_line[0], &other]), [Queued, Started], "B does not wait for A's line");
    let again = line_up(&admission, B);
    drop(other);
    assert_eq!(phases([&long_line[0], &again]), [Started, Queued]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_sheds_who_was_silent_for_longest() {
    let admission = admission(limits(1, 1, 3, 10));
    let _busy = line_up(&admission, A);
    let ready = line_up(&admission, A);
    let [oldest, younger] = std::array::from_fn(|_| enter(&admission, B));
    advance(SILENT - Duration::from_millis(1)).await;
    assert_eq!(
        Permit::enter(&admission, A, Instant::now()).unwrap_err(),
        QueueFull,
        "its message may be on the way"
    );
    advance(Duration::from_millis(1)).await;
    let newest = enter(&admission, A);
    assert_eq!(phases([&ready, &oldest, &younger, &newest]), [Queued, Shed(QueueFull), Queued, Queued]);
    younger.line_up();
    newest.line_up();
    assert_eq!(Permit::enter(&admission, A, Instant::now()).unwrap_err(), QueueFull, "nobody is silent");
    assert_eq!(admission.occupancy(), occupied(3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_few_addresses_do_not_fill_the_queue_for_the_others() {
    let admission = admission(limits(1, 1, 6, 3));
    let _busy = line_up(&admission, B);
    let [first, second, last] = std::array::from_fn(|_| line_up(&admission, A));
    let others: Vec<_> = (3..6).map(|number| line_up(&admission, IpAddr::from([10, 0, 0, number]))).collect();
    let newcomer = enter(&admission, B);
    assert_eq!(phases([&first, &second, &last, &newcomer]), [Queued, Queued, Shed(QueueFull), Queued]);
    // Now no line is longer than the line of the new connection would be.
    newcomer.line_up();
    assert_eq!(Permit::enter(&admission, B, Instant::now()).unwrap_err(), QueueFull);
    assert_eq!(Permit::enter(&admission, A, Instant::now()).unwrap_err(), QueueFull);
    let another = enter(&admission, IpAddr::from([10, 0, 0, 9]));
    assert_eq!(phases([&first, &second, &another]), [Queued, Shed(QueueFull), Queued]);
    assert!(others.iter().all(|other| other.stage() == Queued));
    assert_eq!(admission.occupancy(), occupied(6, 1));
}

#[tokio::test(start_paused = true)]
async fn an_address_fills_its_share_of_the_queue_only() {
    let admission = admission(limits(1, 1, 10, 2));
    let other = enter(&admission, B);
    let [first, second] = std::array::from_fn(|_| enter(&admission, A));
    advance(SILENT).await;
    let third = enter(&admission, A);
    assert_eq!(phases([&other, &first, &second, &third]), [Queued, Shed(ShareFull), Queued, Queued]);
    let _busy = line_up(&admission, B);
    second.line_up();
    third.line_up();
    // One of the two lines up. Its address could have another handshake, but none is free.
    assert_eq!(Permit::enter(&admission, A, Instant::now()).unwrap_err(), ShareFull);
    enter(&admission, B);
}

#[test]
fn no_handshake_begins_that_could_exceed_the_limit_of_connections() {
    let in_service = in_service(B, 7);
    let limits = ListenerLimits { connections: 9, connections_per_address: Some(9), ..limits(4, 4, 10, 10) };
    let admission = Arc::new(Admission::new(limits, in_service.clone(), Box::new(|_| ())));
    let first = line_up(&admission, A);
    let waiting = enter(&admission, A);
    let second = line_up(&admission, A);
    assert_eq!(phases([&first, &second]), [Started, Started]);
    waiting.line_up();
    assert_eq!(waiting.stage(), Queued, "handshakes may fail, and are no connections yet");
    // Another connection ends.
    in_service.remove(B);
    admission.change(|state| admission.make_room(state, Instant::now()));
    assert_eq!(waiting.stage(), Started);
    let last = line_up(&admission, B);
    // One handshake leads to a connection before the others fail.
    (0..3).for_each(|_| in_service.add(B));
    first.succeeded();
    assert_eq!(last.stage(), Shed(ConnectionLimit));
    assert_eq!(Permit::enter(&admission, B, Instant::now()).unwrap_err(), ConnectionLimit);
}

#[test]
fn an_address_has_a_share_of_the_connections_in_service() {
    let in_service = in_service(A, 2);
    let limits = ListenerLimits { connections: 8, ..limits(4, 4, 10, 10) };
    let admission = Arc::new(Admission::new(limits, in_service.clone(), Box::new(|_| ())));
    // Half of all is 4, and 2 are in service.
    let [first, second, third] = std::array::from_fn(|_| line_up(&admission, A));
    let other = line_up(&admission, B);
    assert_eq!(phases([&first, &second, &third, &other]), [Started, Started, Queued, Started]);
    in_service.add(A);
    first.succeeded();
    assert_eq!(third.stage(), Queued, "the handshake of the second may still fail");
    in_service.add(A);
    second.succeeded();
    assert_eq!(third.stage(), Shed(AddressLimit));
    assert_eq!(Permit::enter(&admission, A, Instant::now()).unwrap_err(), AddressLimit);
    assert_eq!(line_up(&admission, B).stage(), Started);
    in_service.remove(A);
    assert_eq!(line_up(&admission, A).stage(), Started);
}

#[test]
fn the_share_of_connections_can_be_set() {
    for (connections, set, expected) in [(8, None, 4), (1, None, 1), (8, Some(8), 8), (8, Some(0), 1)] {
        let limits =
            ListenerLimits { connections, connections_per_address: set, ..ListenerLimits::default() };
        assert_eq!(limits.at_least_one().per_address(), expected, "{connections} {set:?}");
    }
    assert_eq!(ListenerLimits::default().per_address(), 5_000);
}

/// The address of peer `number`.
fn address(number: u8) -> IpAddr {
    [10, 0, 1, number].into()
}

#[tokio::test(start_paused = true)]
async fn succeeded_addresses_come_before_unknown_and_suspect_ones() {
    let admission = admission(limits(1, 1, 100, 100));
    line_up(&admission, A).succeeded();
    for number in 0..6 {
        drop(line_up(&admission, address(number)).failed());
    }
    let mut busy = line_up(&admission, B);
    let failed: Vec<_> = (0..6).map(|number| line_up(&admission, address(number))).collect();
    let new: Vec<_> = (10..13).map(|number| line_up(&admission, address(number))).collect();
    let succeeded = line_up(&admission, A);
    let waiting: Vec<_> = failed.into_iter().chain(new).chain([succeeded]).collect();
    let mut waiting: Vec<_> = waiting.into_iter().map(Some).collect();
    let mut order = Vec::new();
    while waiting.iter().any(Option::is_some) {
        drop(busy);
        let next = waiting.iter().position(|one| one.as_ref().is_some_and(|one| one.stage() == Started));
        let next = next.unwrap();
        busy = waiting[next].take().unwrap();
        order.push(next);
    }
    // Those that failed are 0 to 5, the new ones 6 to 8, and the one with a success is 9. Eight turns were taken
    // before.
    assert_eq!(order, [9, 6, 7, 0, 8, 1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn those_of_failed_addresses_leave_a_full_queue_first() {
    let admission = admission(limits(1, 1, 3, 3));
    drop(line_up(&admission, A).failed());
    let _busy = line_up(&admission, B);
    let [first, second] = std::array::from_fn(|_| line_up(&admission, A));
    let unknown = line_up(&admission, address(1));
    // A newcomer from that address takes nobody's place.
    assert_eq!(Permit::enter(&admission, A, Instant::now()).unwrap_err(), QueueFull);
    let newcomer = line_up(&admission, address(2));
    assert_eq!(phases([&first, &second, &unknown, &newcomer]), [Queued, Shed(QueueFull), Queued, Queued]);
    let another = line_up(&admission, address(3));
    assert_eq!(phases([&first, &unknown, &newcomer, &another]), [Shed(QueueFull), Queued, Queued, Queued]);
    assert_eq!(Permit::enter(&admission, address(4), Instant::now()).unwrap_err(), QueueFull);
    // A failure is forgotten after a minute.
    advance(Duration::from_secs(60)).await;
    assert_eq!(lock(&admission).priority(A, Instant::now()), Priority::New);
}

/// Several Felixes may share an address.
#[test]
fn the_latest_handshake_of_an_address_decides_for_its_whole_line() {
    let admission = admission(limits(2, 1, 3, 3));
    drop(line_up(&admission, A).failed());
    let [first, second, third] = std::array::from_fn(|_| line_up(&admission, A));
    first.succeeded();
    assert_eq!((second.stage(), third.stage()), (Started, Queued));
    let _busy = line_up(&admission, B);
    let _waiting = [5, 6].map(|number| line_up(&admission, address(number)));
    assert_eq!(Permit::enter(&admission, address(7), Instant::now()).unwrap_err(), QueueFull);
    assert_eq!(third.stage(), Queued, "the latest one has succeeded");
    drop(second.failed());
    let is_waiting = third.stage() == Queued;
    assert_eq!(lock(&admission).failed.len(), usize::from(is_waiting));
}

#[tokio::test(start_paused = true)]
async fn the_stalled_make_room_under_the_limit_of_connections() {
    let limits = ListenerLimits { connections: 4, ..limits(4, 4, 10, 10) };
    let admission = Arc::new(Admission::new(limits, in_service(address(1), 3), Box::new(|_| ())));
    let slow = line_up(&admission, A);
    let mut waiting_for_peer = place_timed(&slow);
    poll_once(&mut waiting_for_peer).await;
    advance(STALLED).await;
    let ready = line_up(&admission, B);
    assert_eq!(phases([&slow, &ready]), [Shed(Stalled), Queued]);
    drop(slow);
    assert_eq!(ready.stage(), Started);
}

#[tokio::test(start_paused = true)]
async fn the_stalled_make_room_for_those_who_wait() {
    let admission = admission(limits(2, 2, 10, 10));
    let [slow, busy] = std::array::from_fn(|_| line_up(&admission, A));
    let mut waiting_for_peer = place_timed(&slow);
    poll_once(&mut waiting_for_peer).await;
    advance(STALLED).await;
    admission.change(|state| admission.end_stalled(state, Instant::now()));
    assert_eq!(slow.stage(), Started, "nobody waits for it");
    let ready = line_up(&admission, B);
    // The other one has not waited for its peer, although it is older.
    assert_eq!(phases([&slow, &busy, &ready]), [Shed(Stalled), Started, Queued]);
    // One ended handshake is enough for one connection in line.
    let mut other = place_timed(&busy);
    poll_once(&mut other).await;
    advance(STALLED).await;
    admission.change(|state| admission.end_stalled(state, Instant::now()));
    assert_eq!(busy.stage(), Started);
    drop(slow);
    assert_eq!(ready.stage(), Started);
    let next = line_up(&admission, B);
    assert_eq!(phases([&busy, &next]), [Shed(Stalled), Queued]);
}

#[tokio::test(start_paused = true)]
async fn the_stalled_make_room_for_their_own_address() {
    let admission = admission(limits(3, 1, 10, 10));
    let slow = line_up(&admission, A);
    let mut other = place_timed(&line_up(&admission, B));
    poll_once(&mut place_timed(&slow)).await;
    poll_once(&mut other).await;
    advance(STALLED).await;
    let ready = line_up(&admission, A);
    // A handshake is free, but not for this address.
    assert_eq!(phases([&slow, &ready]), [Shed(Stalled), Queued]);
    drop(slow);
    assert_eq!(ready.stage(), Started);
}

#[tokio::test(start_paused = true)]
async fn what_has_been_woken_does_not_wait_for_its_peer() {
    let admission = admission(limits(1, 1, 10, 10));
    let place = line_up(&admission, A);
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let mut handshake = place.measured(Box::pin(receiver));
    poll_once(&mut handshake).await;
    advance(STALLED - Duration::from_millis(1)).await;
    // The peer has answered. The task does not run yet, which is Typha's own delay.
    sender.send(()).unwrap();
    advance(STALLED * 10).await;
    let _ready = line_up(&admission, B);
    assert_eq!(place.stage(), Started);
}

#[tokio::test(start_paused = true)]
async fn room_is_made_while_a_connection_waits() {
    let admission = admission(limits(1, 1, 10, 10));
    let moving = admission.clone();
    let moving = tokio::spawn(async move { moving.keep_moving().await });
    let slow = line_up(&admission, A);
    poll_once(&mut place_timed(&slow)).await;
    let ready = line_up(&admission, B);
    let began = Instant::now();
    assert_eq!(slow.shed().await, Stalled);
    assert_eq!(began.elapsed(), STALLED);
    drop(slow);
    assert_eq!(ready.stage(), Started);
    moving.abort();
}

/// A handshake whose peer never answers.
fn place_timed(place: &Permit) -> super::super::peer_wait::Measured<std::future::Pending<()>> {
    place.measured(std::future::pending())
}

async fn poll_once<F: Future + Unpin>(future: &mut F) {
    std::future::poll_fn(|cx| {
        assert!(std::pin::Pin::new(&mut *future).poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_keeps_failing_gets_one_at_a_time_with_pauses() {
    let admission = admission(limits(20, 20, 30, 30));
    for _ in 0..9 {
        line_up(&admission, A).failed().await;
    }
    let began = Instant::now();
    let tenth = tokio::spawn(line_up(&admission, A).failed());
    tokio::task::yield_now().await;
    let [next, last] = std::array::from_fn(|_| line_up(&admission, A));
    let other = line_up(&admission, B);
    assert_eq!(phases([&next, &last, &other]), [Queued, Queued, Started]);
    tenth.await.unwrap();
    assert_eq!(began.elapsed().as_millis(), 100);
    assert_eq!(phases([&next, &last]), [Started, Queued]);
    next.failed().await;
    assert_eq!(began.elapsed().as_millis(), 300);
    assert_eq!(last.stage(), Started);
    last.succeeded();
    // All failures are forgotten.
    let [first, second] = std::array::from_fn(|_| line_up(&admission, A));
    assert_eq!(phases([&first, &second]), [Started, Started]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_given_up_is_over() {
    let admission = admission(limits(20, 20, 30, 30));
    for _ in 0..9 {
        line_up(&admission, A).failed().await;
    }
    let tenth = line_up(&admission, A).failed();
    let next = line_up(&admission, A);
    assert_eq!(next.stage(), Queued);
    drop(tenth);
    assert_eq!(next.stage(), Started);
}

#[test]
fn without_descriptors_the_oldest_silent_are_shed() {
    let admission = admission(limits(1, 1, 10, 10));
    let ready = line_up(&admission, A);
    let silent: [_; 3] = std::array::from_fn(|_| enter(&admission, A));
    admission.shed_silent(2);
    assert_eq!(
        silent.each_ref().map(Permit::stage),
        [Shed(OutOfDescriptors), Shed(OutOfDescriptors), Queued]
    );
    assert_eq!(ready.stage(), Started);
    assert_eq!(admission.occupancy(), occupied(1, 1));
}

#[test]
fn closing_sheds_all() {
    let admission = admission(limits(1, 1, 10, 10));
    let places =
        [line_up(&admission, A), line_up(&admission, A), enter(&admission, B), line_up(&admission, B)];
    admission.close();
    assert_eq!(places.each_ref().map(Permit::stage), [Shed(ShuttingDown); 4]);
    assert_eq!(Permit::enter(&admission, A, Instant::now()).unwrap_err(), ShuttingDown);
    drop(places);
    assert_eq!(admission.occupancy(), occupied(0, 0));
    assert!(lock(&admission).addresses.is_empty());
}

#[test]
fn addresses_are_not_remembered_without_bound() {
    let now = Instant::now();
    let admission = admission(limits(1, 1, 10, 10));
    let address = |number: u32| IpAddr::from(number.to_be_bytes());
    for number in 0..3 * u32::try_from(MAX_IDLE_ADDRESSES).unwrap() {
        let place = Permit::enter(&admission, address(number), now).unwrap();
        place.line_up();
        drop(place.failed());
        assert!(lock(&admission).addresses.len() <= MAX_IDLE_ADDRESSES + 2);
    }
}

/// They all have to stay: looking at all of them for each newcomer would take long.
#[test]
fn many_busy_addresses_are_not_looked_through_each_time() {
    let now = Instant::now();
    let admission = admission(limits(100_000, 10, 100_000, 10));
    let address = |number: u32| IpAddr::from(number.to_be_bytes());
    let permits: Vec<_> = (0..10_000)
        .map(|number| {
            let permit = Permit::enter(&admission, address(number), now).unwrap();
            permit.line_up();
            permit.failed()
        })
        .collect();
    let kept = || lock(&admission).kept_addresses;
    let before = kept();
    for number in 20_000..20_100 {
        drop(Permit::enter(&admission, address(number), now).unwrap());
    }
    assert_eq!((kept(), before < 10_000), (before, true));
    drop(permits);
}

#[test]
fn those_who_leave_the_line_leave_no_turns() {
    let admission = admission(limits(1, 1, 10, 10));
    let _busy = line_up(&admission, B);
    for _ in 0..100 {
        drop(line_up(&admission, A));
    }
    assert_eq!(lock(&admission).turns.count(), 0);
    let [first, second] = [line_up(&admission, A), line_up(&admission, A)];
    drop(first);
    assert_eq!(lock(&admission).turns.count(), 1);
    drop(second);
    assert_eq!(lock(&admission).turns.count(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Enter(u8),
    LineUp(usize),
    Succeed(usize),
    Fail(usize),
    Leave(usize),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_u8).prop_map(Step::Enter),
        3 => any::<usize>().prop_map(Step::LineUp),
        1 => any::<usize>().prop_map(Step::Succeed),
        2 => any::<usize>().prop_map(Step::Fail),
        2 => any::<usize>().prop_map(Step::Leave),
        1 => prop_oneof![Just(0), 0..3000_u16].prop_map(Step::Wait),
    ]
}

proptest! {
    /// In any sequence of events, the bounds hold, no handshake is free while a connection could use it, and all places
    /// are given back.
    #[test]
    fn bounds_hold_whatever_happens(steps in vec(step(), 0..120)) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(walk(steps));
    }
}

async fn walk(steps: Vec<Step>) {
    let admission = admission(limits(4, 2, 6, 4));
    let mut places = Vec::new();
    let mut pauses = Vec::new();
    for step in steps {
        let chosen = |number: usize, count: usize| (count > 0).then(|| number % count);
        match step {
            Step::Enter(address) => {
                let address = IpAddr::from([10, 0, 0, address]);
                places.extend(Permit::enter(&admission, address, Instant::now()).ok());
            }
            Step::LineUp(number) => {
                if let Some(index) = chosen(number, places.len()) {
                    places[index].line_up();
                }
            }
            Step::Succeed(number) | Step::Fail(number) | Step::Leave(number) => {
                let Some(index) = chosen(number, places.len()) else { continue };
                let place = places.swap_remove(index);
                match (&step, place.stage()) {
                    (Step::Succeed(_), Started) => place.succeeded(),
                    (Step::Fail(_), Started) => pauses.push(tokio::spawn(place.failed())),
                    _ => drop(place),
                }
            }
            Step::Wait(millis) => sleep(Duration::from_millis(millis.into())).await,
        }
        tokio::task::yield_now().await;
        check(&admission, &places);
    }
    drop(places);
    for pause in pauses {
        pause.await.unwrap();
    }
    assert_eq!(admission.occupancy(), occupied(0, 0));
    let state = lock(&admission);
    assert_eq!((state.in_line, state.connections.len(), state.silent.len()), (0, 0, 0));
    assert!(state.addresses.values().all(Address::is_idle));
}

fn check(admission: &Arc<Admission>, places: &[Permit]) {
    let occupancy = admission.occupancy();
    assert!(occupancy.queued <= 6 && occupancy.handshakes <= 4, "{occupancy:?}");
    let count = |stand| places.iter().filter(|place| place.stage() == stand).count();
    assert_eq!((count(Queued), count(Started)), (occupancy.queued, occupancy.handshakes));
    let state = lock(admission);
    let now = Instant::now();
    for (address, peer) in &state.addresses {
        assert!(peer.queued() <= 4);
        let could_start = occupancy.handshakes < 4 && peer.busy < admission.share(peer, *address, now);
        assert!(!could_start || peer.line.is_empty(), "somebody waits for a free handshake: {peer:?}");
    }
}
